# A text as a C string literal, line by line.
s/\\/\\\\/g
s/"/\\"/g
s/.*/"&\\n"/
