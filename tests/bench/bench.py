#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the rows and writes the table; see ./bench --help."""

import argparse
import datetime
import importlib
import json
import os
import platform
import sys
import traceback

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import measure  # noqa: E402
import report  # noqa: E402

GROUPS = ("archive", "images", "serving", "pushing", "growth", "node")


def machine():
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), platform.machine())
    with open("/etc/os-release") as f:
        name = next(line.split("=")[1].strip().strip('"') for line in f if line.startswith("PRETTY_NAME"))
    return "%s, %d processors, Linux %s, %s" % (model, os.cpu_count(), platform.release(), name)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--results", default=os.path.join(measure.SRC, "results"))
    parser.add_argument("group", nargs="*", choices=[[], *GROUPS])
    options = parser.parse_args()
    rows, failed = [], 0
    scratch = measure.Scratch()
    say = sys.stderr
    try:
        for group in options.group or GROUPS:
            measure.touch_memory()
            try:
                for row in importlib.import_module("rows." + group).rows(scratch, options.short):
                    rows.append(row)
                    print(report.line(row), file=say, flush=True)
            except Exception:
                failed += 1
                print("%s did not come to its end:" % group, file=say)
                traceback.print_exc(file=say)
    finally:
        scratch.close()
    about = {"date": datetime.date.today().isoformat(), "machine": machine(), "short": options.short,
             "command": "./bench%s%s" % (" --short" if options.short else "", "".join(" " + g for g in options.group))}
    report.write(options.results, about, rows)
    if options.json:
        json.dump([row.as_dict() for row in rows], sys.stdout, indent=1)
        print()
    else:
        print(report.markdown(about, rows))
        print("\n" + report.quiet(rows))
    sys.exit(1 if failed else 0)


main()
