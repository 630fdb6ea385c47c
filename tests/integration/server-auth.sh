#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Users, tokens and rules, with the clients that use them.
. "$(dirname "$0")/lib.sh"
needs nix curl skopeo python3 openssl

P=$(fixture shell) || die "no fixture shell"
hash=$(basename "$P" | cut -c1-32)
bcrypt() {
    python3 -c 'import crypt, sys, warnings; print(crypt.crypt(sys.argv[1], crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)))' "$1" 2>/dev/null ||
        perl -e 'print crypt($ARGV[0], "\$2b\$04\$abcdefghijklmnopqrstuu"), "\n"' "$1"
}
for user in alice bob carol; do
    printf '%s:%s\n' "$user" "$(bcrypt "secret-$user")"
done >"$T/htpasswd"
cat >"$T/nacre.yaml" <<EOF
auth: {htpasswd: $T/htpasswd, token-lifetime: 2m}
groups: {ops: [carol]}
views: {team: {}, private: {}}
access:
- {repositories: ["open/**", nix], caches: [/], who: everyone, allow: pull}
- {repositories: "**", caches: ["**", /], who: "@ops", allow: [pull, push, delete]}
- {repositories: "team/**", caches: team, who: [alice], allow: [pull, push]}
- {repositories: "team/**", caches: team, who: [bob], allow: pull}
- {repositories: "private/**", caches: private, who: bob, allow: [pull, push]}
- {repositories: "**", caches: "**", who: "@ops", allow: admin}
- {repositories: "team/**", caches: team, who: alice, allow: admin}
immutable-tags:
- {repositories: "team/**", tags: "v*"}
audit: {file: $T/audit}
EOF
check "serve --check" "$NACRE" serve --check --config "$T/nacre.yaml"
start_nacre "$T/data" --config "$T/nacre.yaml"
status() {
    curl -s -o "$T/body" -w '%{http_code}' "$@"
}
as() { printf '%s:secret-%s' "$1" "$1"; }

# ---- who is let in
check_match "the entrance asks for a token" '^WWW-Authenticate: Bearer realm="http://127.0.0.1:[0-9]+/token",service="nacre"' "$(curl -si "$NACRE_URL/v2/")"
check_eq "with 401" 401 "$(status "$NACRE_URL/v2/")"
check_eq "a user is let in" 200 "$(status -u "$(as alice)" "$NACRE_URL/v2/")"
check_eq "again, without hashing" 200 "$(status -u "$(as alice)" "$NACRE_URL/v2/")"
check_eq "a wrong password is not" 401 "$(status -u alice:wrong "$NACRE_URL/v2/")"
check_eq "nor another's" 401 "$(status -u alice:secret-bob "$NACRE_URL/v2/")"
check_eq "nor a user that does not exist" 401 "$(status -u mallory:x "$NACRE_URL/v2/")"
check_eq "nor a wrong password where anybody may read" 401 "$(status -u alice:wrong "$NACRE_URL/nix-cache-info")"
check_eq "malformed credentials" 401 "$(status -H 'Authorization: Basic %%%' "$NACRE_URL/nix-cache-info")"
check_eq "another scheme" 401 "$(status -H 'Authorization: Digest x' "$NACRE_URL/nix-cache-info")"
check_eq "an authorization of 30 kB" 401 "$(status -H "Authorization: Bearer $(head -c 30000 /dev/zero | tr '\0' a)" "$NACRE_URL/nix-cache-info")"
check_eq "health needs nobody" 200 "$(status "$NACRE_URL/healthz")"
check_eq "anybody reads the open cache" 200 "$(status "$NACRE_URL/nix-cache-info")"
check_eq "and not the private one" 401 "$(status "$NACRE_URL/private/nix-cache-info")"
check_match "which asks Nix for a password" '^WWW-Authenticate: Basic' "$(curl -si "$NACRE_URL/private/nix-cache-info")"
check_eq "its user does" 200 "$(status -u "$(as bob)" "$NACRE_URL/private/nix-cache-info")"
check_eq "another user does not" 403 "$(status -u "$(as alice)" "$NACRE_URL/private/nix-cache-info")"
check_eq "a group does" 200 "$(status -u "$(as carol)" "$NACRE_URL/private/nix-cache-info")"
check_eq "what is not there looks the same" "403 403" "$(status -u "$(as alice)" "$NACRE_URL/v2/private/a/tags/list") $(status -u "$(as alice)" "$NACRE_URL/v2/nothing/a/tags/list")"
check_eq "writing is no reading" 403 "$(status -u "$(as bob)" -X POST "$NACRE_URL/v2/team/app/blobs/uploads/")"
check_eq "anybody cannot write here" 401 "$(status -X POST "$NACRE_URL/v2/open/app/blobs/uploads/")"
check_eq "who may push may not delete" 403 "$(status -u "$(as alice)" -X DELETE "$NACRE_URL/v2/team/app/manifests/1")"
for path in "v2/team%2fapp/tags/list" "v2/open/../private/a/tags/list" "v2/open/%2e%2e/private/a/tags/list" "v2//private/a/tags/list" \
    "v2/PRIVATE/a/tags/list" "private//nix-cache-info" "./private/nix-cache-info" "open/..%2fprivate/nix-cache-info"; do
    got=$(status --path-as-is "$NACRE_URL/$path")
    case $got in 40[0134]) ok "$path is $got" ;; *) not_ok "$path is $got" "$(cat "$T/body")" ;; esac
done

# ---- tokens
token() { # USER SCOPE
    curl -s ${1:+-u "$(as "$1")"} -G --data-urlencode "service=nacre" ${2:+--data-urlencode "scope=$2"} "$NACRE_URL/token" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["token"])'
}
payload() { # of a token
    cut -d. -f2 <<<"$1" | python3 -c 'import base64, sys; t = sys.stdin.read().strip(); sys.stdout.write(base64.urlsafe_b64decode(t + "=" * (-len(t) % 4)).decode())'
}
bearer() { status -H "Authorization: Bearer $1" "${@:2}"; }
t=$(token alice "repository:team/app:pull,push repository:private/app:pull")
check_match "a token holds what the user may have" '"name":"team/app","actions":\["pull","push"\]' "$(payload "$t")"
check_eq "and nothing else" "" "$(payload "$t" | grep private)"
check_eq "it lets in" 200 "$(bearer "$t" "$NACRE_URL/v2/")"
check_eq "it pushes" 202 "$(bearer "$t" -X POST "$NACRE_URL/v2/team/app/blobs/uploads/")"
check_eq "not elsewhere" 401 "$(bearer "$t" -X POST "$NACRE_URL/v2/team/other/blobs/uploads/")"
check_match "and says which token would" 'scope="repository:team/other:pull,push"' "$(curl -si -H "Authorization: Bearer $t" -X POST "$NACRE_URL/v2/team/other/blobs/uploads/")"
mount="v2/team/other/blobs/uploads/?mount=sha256:$(printf '0%.0s' {1..64})"
check_match "for a mount it reads where the blob lies" 'scope="repository:team/other:pull,push repository:open/app:pull"' "$(curl -si -X POST "$NACRE_URL/$mount&from=open/app")"
check_match "which has to be a repository's name" 'scope="repository:team/other:pull,push"' "$(curl -si -X POST "$NACRE_URL/$mount&from=a%22b")"
check_eq "not even on the open cache" 401 "$(bearer "$t" "$NACRE_URL/nix-cache-info")"
t=$(token "" "repository:open/app:pull,push repository:nix:pull")
check_match "anybody gets a token for what anybody may" '"name":"open/app","actions":\["pull"\]' "$(payload "$t")"
check_eq "which lets in" 200 "$(bearer "$t" "$NACRE_URL/v2/")"
check_eq "wrong credentials get none" 401 "$(status -u alice:wrong "$NACRE_URL/token")"
check_eq "a scope that is none" 400 "$(status -u "$(as alice)" "$NACRE_URL/token?scope=repository:UPPER:pull")"
check_eq "OAuth 2 with a password" 200 "$(status --data 'grant_type=password&username=alice&password=secret-alice&scope=repository:team/app:pull' "$NACRE_URL/token")"
check_eq "OAuth 2 with a wrong one" 401 "$(status --data 'grant_type=password&username=alice&password=wrong' "$NACRE_URL/token")"
check_eq "OAuth 2 with another grant" 400 "$(status --data 'grant_type=authorization_code&code=x' "$NACRE_URL/token")"
check_eq "no refresh token unless it is asked for" "" "$(curl -s -u "$(as alice)" "$NACRE_URL/token" | grep refresh_token)"
# As docker login asks for one, and containerd.
member() { python3 -c 'import json, sys; print(json.load(sys.stdin).get(sys.argv[1], ""))' "$1"; }
fresh() { curl -s --data "grant_type=refresh_token&service=nacre&client_id=x&scope=repository:team/app:pull,push&refresh_token=$1" "$NACRE_URL/token"; }
by_get=$(curl -s -u "$(as alice)" "$NACRE_URL/token?account=alice&client_id=docker&offline_token=true&service=nacre" | member refresh_token)
by_post=$(curl -s --data 'grant_type=password&username=alice&password=secret-alice&access_type=offline&client_id=x' "$NACRE_URL/token" | member refresh_token)
check_eq "a refresh token by GET gets a token that pushes" 202 "$(bearer "$(fresh "$by_get" | member access_token)" -X POST "$NACRE_URL/v2/team/app/blobs/uploads/")"
check_eq "one by POST, too" 202 "$(bearer "$(fresh "$by_post" | member access_token)" -X POST "$NACRE_URL/v2/team/app/blobs/uploads/")"
check_eq "the answer names the scope, and the refresh token" "repository:team/app:pull,push $by_post" "$(fresh "$by_post" | member scope) $(fresh "$by_post" | member refresh_token)"
check_eq "it is no bearer token" 401 "$(bearer "$by_post" "$NACRE_URL/v2/")"
check_eq "nor a password" 401 "$(status -u "alice:$by_post" "$NACRE_URL/v2/")"
check_eq "a bearer token refreshes nothing" 401 "$(status --data "grant_type=refresh_token&refresh_token=$t" "$NACRE_URL/token")"
check_eq "nor does what is no token" '{"error":"invalid_grant"}' "$(fresh x)"
check_eq "nor nothing" 400 "$(status --data 'grant_type=refresh_token' "$NACRE_URL/token")"
check_eq "nobody gets none" "" "$(curl -s "$NACRE_URL/token?offline_token=true" | member refresh_token)"
printf '{"auths":{"%s":{"auth":"%s","identitytoken":"%s"}}}' "$NACRE_ADDR" "$(printf '00000000-0000-0000-0000-000000000000:' | base64 -w0)" "$by_get" >"$T/identity.json"
hello_image "$T/hello"
check "skopeo pushes with what docker login leaves" skopeo_copy "oci:$T/hello:hello" "docker://$NACRE_ADDR/team/app:identity" --dest-authfile "$T/identity.json"
check "nacre copies with it" "$NACRE" copy --insecure --authfile "$T/identity.json" "docker://$NACRE_ADDR/team/app:identity" "oci:$T/identity:1"
good=$(token carol "repository:team/app:pull,push,delete")
IFS=. read -r head body sig <<<"$good"
none=$(printf '{"alg":"none","typ":"JWT"}' | base64 -w0 | tr '+/' '-_' | tr -d =)
hs=$(printf '{"alg":"HS256","typ":"JWT"}' | base64 -w0 | tr '+/' '-_' | tr -d =)
wide=$(payload "$good" | sed 's,team/app,private/app,' | base64 -w0 | tr '+/' '-_' | tr -d =)
check_eq "the token as it is" 200 "$(bearer "$good" "$NACRE_URL/v2/")"
for bad in "$none.$body." "$none.$body.$sig" "$hs.$body.$sig" "$head.$wide.$sig" "$head.$body" "$head.$body.${sig}A" "$head.$body.$sig." \
    "$head..$sig" "..." "x" "$head.$body.$(rev <<<"$sig")" "${good}="; do
    check_eq "a forged token: ${bad:0:12}…${bad: -12}" 401 "$(bearer "$bad" "$NACRE_URL/v2/")"
done
other=$T/other-data
"$NACRE" serve --config "$T/nacre.yaml" --data "$other" --listen "127.0.0.1:$(free_port)" >"$T/other.log" 2>&1 &
server_pids+=($!)
wait_for 10 test -e "$other/token.key"
check_eq "its key is nobody's business" 600 "$(stat -c %a "$other/token.key")"
cp "$other/token.key" "$T/other.key"

narrow=$(token alice repository:team/app:pull)
check_eq "a token gets no other one" 401 "$(bearer "$narrow" "$NACRE_URL/token?scope=repository:team/app:push")"
check_eq "nor shows it the catalog" 401 "$(bearer "$narrow" "$NACRE_URL/v2/_catalog")"
check_eq "a page in a browser writes nothing" 403 "$(status -H 'Origin: http://evil' -X POST "$NACRE_URL/v2/open/app/blobs/uploads/")"
printf 'me+ci:%s\n' "$(bcrypt 'two words+%')" >>"$T/htpasswd"
kill -HUP "$NACRE_PID"
check "a form with a plus and a blank" wait_for 10 sh -c "[ \$(curl -s -o $T/body -w '%{http_code}' --data 'grant_type=password&username=me%2Bci&password=two+words%2B%25' $NACRE_URL/token) = 200 ]"

# ---- tokens to log in with
login=$("$NACRE" admin token create --data "$T/data" --user carol 2>"$T/token.id") || die "no token"
id=$(cat "$T/token.id")
check_eq "a login token is a password" 200 "$(status -u "anything:$login" "$NACRE_URL/private/nix-cache-info")"
check_eq "and gets tokens" 200 "$(status -u "anything:$login" "$NACRE_URL/token?scope=repository:team/app:push")"
check_eq "or is one itself" 202 "$(bearer "$login" -X POST "$NACRE_URL/v2/team/app/blobs/uploads/")"
check_eq "of its user, not of the name beside it" 403 "$(status -u "bob:$("$NACRE" admin token create --data "$T/data" --user nobody 2>"$T/x.id")" "$NACRE_URL/private/nix-cache-info")"
check_eq "a bearer token is no password" 401 "$(status -u "carol:$good" "$NACRE_URL/nix-cache-info")"
check_eq "another server's is none" 401 "$(status -u "carol:$("$NACRE" admin token create --data "$T/other-data" --user carol 2>"$T/x.id")" "$NACRE_URL/nix-cache-info")"
check "it is revoked" "$NACRE" admin token revoke --data "$T/data" "$id"
check_eq "at once" 401 "$(status -u "anything:$login" "$NACRE_URL/private/nix-cache-info")"
mv "$T/data/tokens.revoked" "$T/data/tokens.saved"
check_eq "also when the list of revoked ones is lost" 401 "$(status -u "anything:$login" "$NACRE_URL/private/nix-cache-info")"
mv "$T/data/tokens.saved" "$T/data/tokens.revoked"
list() { "$NACRE" admin token list --data "$T/data" "$@"; }
check_match "it is listed as revoked" "^$id 20.* revoked carol\$" "$(list)"
check_match "another is good, as JSON" '^{"id":"[0-9a-f]{32}","user":"nobody",.*"state":"good"}$' "$(list --user nobody --json)"
carol=$("$NACRE" admin token create --data "$T/data" --user carol 2>"$T/x.id")
check_eq "a login token refreshes, too" 202 "$(bearer "$(fresh "$carol" | member token)" -X POST "$NACRE_URL/v2/team/app/blobs/uploads/")"
check_eq "and is its own refresh token" "$carol" "$(curl -s --data "grant_type=password&username=x&password=$carol&access_type=offline" "$NACRE_URL/token" | member refresh_token)"
carols=$(token carol "repository:team/app:pull")
check_eq "all is good" "200 200" "$(bearer "$carol" "$NACRE_URL/v2/") $(bearer "$carols" "$NACRE_URL/v2/")"
check "all tokens of a user are revoked" "$NACRE" admin token revoke --data "$T/data" --user carol
check_eq "at once, bearer tokens as well" "401 401 401" "$(bearer "$carol" "$NACRE_URL/v2/") $(bearer "$carols" "$NACRE_URL/v2/") $(status --data "grant_type=refresh_token&refresh_token=$carol" "$NACRE_URL/token")"
check_eq "not those of others" 200 "$(bearer "$(fresh "$by_get" | member token)" "$NACRE_URL/v2/")"
check_eq "nor the password, nor new ones" "200 200" "$(status -u "$(as carol)" "$NACRE_URL/v2/") $(bearer "$("$NACRE" admin token create --data "$T/data" --user carol 2>"$T/x.id")" "$NACRE_URL/v2/")"
check_eq "one of hers is good in the list" 1 "$(list --user carol | grep -c ' good carol$')"
check_fails "a user that is none" "is no user" "$NACRE" admin token revoke --data "$T/data" --user "a b"
check_fails "what is no id" "no id of a token" "$NACRE" admin token revoke --data "$T/data" x
check_fails "a token of nobody" "for whom" "$NACRE" admin token create --data "$T/data"
check_fails "a token for ever" "number of days" "$NACRE" admin token create --data "$T/data" --user a --expires 100000

# ---- clients
check_fails "skopeo without a password" "unauthorized|authentication required|access to the resource is denied" skopeo_copy "docker://$NACRE_ADDR/team/app:1" "dir:$T/x"
hello_image "$T/hello"
check "skopeo pushes with one" skopeo_copy "oci:$T/hello:hello" "docker://$NACRE_ADDR/team/app:1" --dest-creds "$(as alice)"
check "and pulls" skopeo_copy "docker://$NACRE_ADDR/team/app:1" "dir:$T/pulled" --src-creds "$(as bob)"
check_fails "not into a place of others" "denied|unauthorized|requested access" skopeo_copy "oci:$T/hello:hello" "docker://$NACRE_ADDR/private/app:1" --dest-creds "$(as alice)"
check "into an open place, by who may" skopeo_copy "oci:$T/hello:hello" "docker://$NACRE_ADDR/open/app:1" --dest-creds "$(as carol)"
check "anybody pulls that" skopeo_copy "docker://$NACRE_ADDR/open/app:1" "dir:$T/open"
catalog() { curl -s ${1:+-u "$(as "$1")"} "$NACRE_URL/v2/_catalog"; }
check_eq "the catalog is what one may read" '{"repositories":["open/app","team/app"]}' "$(catalog alice)"
check_eq "no more" '{"repositories":["open/app"]}' "$(curl -s -H "Authorization: Bearer $(token "" registry:catalog:*)" "$NACRE_URL/v2/_catalog")"
layer=$(curl -s -u "$(as bob)" "$NACRE_URL/v2/team/app/manifests/1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["layers"][0]["digest"])')
check_eq "a blob is mounted from where one may read" 201 "$(status -u "$(as carol)" -X POST "$NACRE_URL/v2/team/copy/blobs/uploads/?mount=$layer&from=team/app")"
narrow=$(token carol repository:team/copy:pull,push)
check_eq "a token that is not made out for it mounts nothing" 202 "$(bearer "$narrow" -X POST "$NACRE_URL/v2/team/copy/blobs/uploads/?mount=$layer&from=team/app")"
printf 'machine 127.0.0.1\nlogin bob\npassword secret-bob\n' >"$T/netrc"
chmod 600 "$T/netrc"
check_fails "nix without a password" "401|403|not appear to be a binary cache" nix copy --from "$FIXTURES" --no-check-sigs --to "$NACRE_URL/private" "$P"
check "nix with netrc uploads" nix copy --from "$FIXTURES" --no-check-sigs --to "$NACRE_URL/private" "$P" --option netrc-file "$T/netrc"
check "and downloads" nix copy --from "$NACRE_URL/private" --no-check-sigs --to "$(new_store bob)" "$P" --option netrc-file "$T/netrc"
check_fails "not where it may not" "401|403|HTTP error" timeout 60 nix copy --from "$FIXTURES" --no-check-sigs --to "$NACRE_URL/" "$P" --option netrc-file "$T/netrc"
check "its image, by podman" podman_ pull --quiet --tls-verify=false --creds "$(as bob)" "$NACRE_ADDR/private/nix:$hash"
check_fails "not by anybody" "unauthorized|denied|authentication" podman_ pull --quiet --tls-verify=false "$NACRE_ADDR/private/nix:$hash"
check "podman login" podman_ login --tls-verify=false -u alice -p secret-alice --authfile "$T/auth.json" "$NACRE_ADDR"
check_fails "podman login with a wrong password" "invalid|unauthorized|401" podman_ login --tls-verify=false -u alice -p wrong --authfile "$T/auth2.json" "$NACRE_ADDR"
check "nacre copy with the same credentials" "$NACRE" copy --insecure --authfile "$T/auth.json" "docker://$NACRE_ADDR/team/app:1" "oci:$T/copied:1"

# ---- the right `admin`, from anywhere
admin() { # USER COMMAND …
    printf 'machine 127.0.0.1 login %s password secret-%s\n' "$1" "$1" >"$T/admin.netrc"
    "$NACRE" admin "$2" --server "$NACRE_URL" --netrc "$T/admin.netrc" "${@:3}"
}
check "an image whose tag stands for ever" skopeo_copy "oci:$T/hello:hello" "docker://$NACRE_ADDR/team/app:v1" --dest-creds "$(as alice)"
check_eq "which clients do not delete" 409 "$(status -u "$(as carol)" -X DELETE "$NACRE_URL/v2/team/app/manifests/v1")"
check "who has admin pins" admin alice pin team/app:v1
check_fails "not what is another's" "may not do this" admin alice pin private/app:v1
check_fails "there or not" "may not do this" admin alice unpin open/app:1
check_fails "nor a path there" "may not do this" admin alice pin --view private "$P"
check "the operator does" admin carol pin --view private "$P"
check "and repositories" admin carol pin open/app
check_eq "everybody sees his own pins" "team/app:v1" "$(admin alice pins)"
check_eq "the operator sees all" "$(printf 'open/app\nprivate/%s\nteam/app:v1' "$(basename "$P")")" "$(admin carol pins)"
check_eq "statistics of his own" "$(printf 'repository team/app\nrepository team/copy')" "$(admin alice stats --repositories | grep -v '^view team:' | cut -d: -f1)"
check_match "the operator's are those of all" "on disk: .*" "$(admin carol stats --repositories)"
check_eq "as on the machine itself" "$("$NACRE" admin stats --repositories --data "$T/data" | grep -v '^on disk')" "$(admin carol stats --repositories | grep -v '^on disk')"
check_match "what would be collected" "would go now: 0 tags" "$(admin alice gc --dry-run)"
check_fails "collecting is for the machine" "server's machine only" admin carol gc
check_fails "so is a check" "only|unknown|unrecognized" admin carol fsck
check_fails "a user without the right" "may not do this" admin bob pins
check_fails "a wrong password" "wrong" "$NACRE" admin pins --server "http://carol:wrong@$NACRE_ADDR"
check "credentials in the address" "$NACRE" admin pins --server "http://carol:secret-carol@$NACRE_ADDR/"
check_eq "nobody is asked for a password" 401 "$(status "$NACRE_URL/admin/pins")"
check_eq "a bearer token does not do" 401 "$(bearer "$(token carol "repository:team/app:pull,push")" "$NACRE_URL/admin/pins")"
check_eq "a login token does" 200 "$(status -u "x:$("$NACRE" admin token create --data "$T/data" --user carol 2>"$T/x.id")" "$NACRE_URL/admin/pins")"
check_eq "a page in a browser does nothing" 403 "$(status -u "$(as carol)" -H 'Origin: http://evil' --data '{"what":"team/app:v1"}' "$NACRE_URL/admin/unpin")"
check_eq "GET changes nothing" "405 405 404" "$(status -u "$(as carol)" "$NACRE_URL/admin/delete") $(status -u "$(as carol)" --data '{}' "$NACRE_URL/admin/pins") $(status -u "$(as carol)" "$NACRE_URL/admin/fsck")"
check_eq "what is no request" "400 400 400 413" "$(status -u "$(as carol)" --data 'x' "$NACRE_URL/admin/pin") $(status -u "$(as carol)" --data '{"what":5}' "$NACRE_URL/admin/pin") $(status -u "$(as carol)" --data '{"what":"NO"}' "$NACRE_URL/admin/pin") $(status -u "$(as carol)" --data "$(head -c 70000 /dev/zero | tr '\0' ' '){}" "$NACRE_URL/admin/pin")"
check_fails "a repository is not deleted at once" "which tag or digest" admin carol delete team/app
check_fails "nor what is not there" "not there|no manifest|unknown" admin alice delete team/app:v9
check "what stands for ever is deleted" admin alice delete team/app:v1
check_eq "and gone" 404 "$(status -u "$(as bob)" "$NACRE_URL/v2/team/app/manifests/v1")"
check "and pushed again" skopeo_copy "oci:$T/hello:hello" "docker://$NACRE_ADDR/team/app:v1" --dest-creds "$(as alice)"
check_fails "a path that is pinned stays" "is pinned" admin carol delete --view private "$P"
check "unless it is not" admin carol unpin --view private "$P"
check_eq "nobody else deletes it" "401 403" "$(status -X DELETE "$NACRE_URL/private/$hash.narinfo") $(status -u "$(as bob)" -X DELETE "$NACRE_URL/private/$hash.narinfo")"
check_eq "the right \`delete\` does" 204 "$(status -u "$(as carol)" -X DELETE "$NACRE_URL/private/$hash.narinfo")"
check_eq "it is gone, with its image" "404 404 404" "$(status -u "$(as bob)" "$NACRE_URL/private/$hash.narinfo") $(status -u "$(as bob)" "$NACRE_URL/v2/private/nix/manifests/$hash") $(status -u "$(as carol)" -X DELETE "$NACRE_URL/private/$hash.narinfo")"
needed=$(closure "$P" | grep -vxF "$P" | head -1)
check_match "there is something that it needs" "^/nix/store/" "$needed"
check "nix puts it again" nix copy --from "$FIXTURES" --no-check-sigs --to "$NACRE_URL/private" "$P" --option netrc-file "$T/netrc" --refresh
check_fails "what others refer to stays" "referred to by" admin carol delete --view private "$needed"
check_match "the audit log has it" '"action":"admin.delete","result":"done".*"user":"alice".*"object":"team/app:v1"' "$(cat "$T/audit")"
check_match "and what was refused" '"action":"admin.pin","result":"refused".*"user":"alice".*"object":"private/app:v1"' "$(cat "$T/audit")"

# ---- changes
printf 'dave:%s\n' "$(bcrypt secret-dave)" >>"$T/htpasswd"
check_eq "a new user, not yet" 401 "$(status -u "$(as dave)" "$NACRE_URL/v2/")"
kill -HUP "$NACRE_PID"
check "after SIGHUP" wait_for 10 sh -c "[ \$(curl -s -o $T/body -w '%{http_code}' -u dave:secret-dave $NACRE_URL/v2/) = 200 ]"
sed -i /^dave:/d "$T/htpasswd"
check "the file is read again when it changed" wait_for 10 sh -c "[ \$(curl -s -o $T/body -w '%{http_code}' -u dave:secret-dave $NACRE_URL/v2/) = 401 ]"
cp "$T/htpasswd" "$T/htpasswd.sane"
echo "broken" >>"$T/htpasswd"
check "a mistake in it is told" wait_for 10 sh -c "curl -s -o $T/body -u bob:wrong $NACRE_URL/v2/; grep -q 'users stay as they were: .*wanted NAME:HASH' $NACRE_LOG"
check_eq "and those who are known stay" 200 "$(status -u "$(as bob)" "$NACRE_URL/v2/")"
mv "$T/htpasswd.sane" "$T/htpasswd"
cp "$T/htpasswd" "$T/htpasswd.old"
sed -i "s,^alice:.*,alice:$(bcrypt another)," "$T/htpasswd"
kill -HUP "$NACRE_PID"
check "with another password" wait_for 10 sh -c "[ \$(curl -s -o $T/body -w '%{http_code}' -u alice:another $NACRE_URL/v2/) = 200 ]"
check_eq "the refresh token of the old one is void" '{"error":"invalid_grant"}' "$(fresh "$by_get")"
cp "$T/htpasswd.old" "$T/htpasswd"
sed -i /^alice:/d "$T/htpasswd"
kill -HUP "$NACRE_PID"
check "a user that is gone, though its password was known" wait_for 10 sh -c "[ \$(curl -s -o $T/body -w '%{http_code}' -u alice:secret-alice $NACRE_URL/v2/) = 401 ]"
echo "broken" >>"$T/htpasswd"
kill -HUP "$NACRE_PID"
check "a broken file is refused" wait_for 10 grep -q "stays as it was: .*htpasswd:[0-9]*: wanted NAME:HASH" "$NACRE_LOG"
check_eq "and the others are still there" 200 "$(status -u "$(as bob)" "$NACRE_URL/v2/")"

bad() {
    check_fails "$1" "$2" "$NACRE" serve --check --data "$T/d" "${@:3}"
}
printf 'x:{SHA}abc\n' >"$T/sha"
bad "a hash that is no bcrypt" "sha:1: .*not bcrypt" --set "auth.htpasswd=$T/sha"
bad "a right that is none" "no right" --set 'access=[{repositories: "**", who: everyone, allow: read}]'
bad "a rule about nothing" "which repositories" --set 'access=[{who: everyone, allow: pull}]'
bad "a rule about nobody" "say who" --set 'access=[{repositories: "**", allow: pull}]'
bad "a pattern that is none" "no pattern" --set 'access=[{repositories: "a b", who: everyone, allow: pull}]'

# ---- TLS and client certificates
certificate() { # NAME SUBJECT [EXTENSION]: signed by the authority "ca"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$T/$1.key" -out "$T/$1.csr" -subj "$2" 2>"$T/openssl.log" &&
        openssl x509 -req -in "$T/$1.csr" -CA "$T/ca.crt" -CAkey "$T/ca.key" -days 2 -out "$T/$1.crt" \
            -extfile <(printf '%s\n' subjectAltName=IP:127.0.0.1,DNS:localhost "${@:3}") 2>>"$T/openssl.log"
}
authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$2" -keyout "$T/$1.key" -out "$T/$1.crt" 2>"$T/openssl.log"
}
authority ca "an authority"
authority foreign "another authority"
certificate server /CN=localhost || die "$(cat "$T/openssl.log")"
certificate builder /CN=builder
certificate stranger /CN=stranger
openssl req -x509 -key "$T/builder.key" -days 2 -subj /CN=builder -out "$T/selfmade.crt" 2>"$T/openssl.log"
printf 'bob:%s\n' "$(bcrypt secret-bob)" >"$T/htpasswd"
cat >"$T/tls.yaml" <<EOF
tls: {certificate: $T/server.crt, key: $T/server.key, client-ca: $T/ca.crt}
auth: {htpasswd: $T/htpasswd}
access:
- {repositories: "open/**", caches: /, who: everyone, allow: pull}
- {repositories: "**", caches: /, who: "cert:builder", allow: [pull, push]}
- {repositories: "**", caches: /, who: bob, allow: [pull, push]}
EOF
port=$(free_port)
plain=$(free_port)
start_server tls "$NACRE" serve --config "$T/tls.yaml" --data "$T/tls-data" --listen "127.0.0.1:$port" --listen "http://127.0.0.1:$plain"
TLS_PID=$SERVER_PID
S=https://127.0.0.1:$port
secure() { curl -s --cacert "$T/ca.crt" -o "$T/body" -w '%{http_code}' "$@"; }
check "the server is there" wait_for 20 curl -sf --cacert "$T/ca.crt" "$S/healthz"
check_match "it says where" "^https://127.0.0.1:$port" "$(cat "$T/tls.log")"
check_eq "anybody reads" 200 "$(secure "$S/nix-cache-info")"
check_match "tokens are got by TLS, too" "realm=\"https://127.0.0.1:$port/token\"" "$(curl -si --cacert "$T/ca.crt" "$S/v2/")"
check_eq "an address without TLS" 200 "$(status "http://127.0.0.1:$plain/nix-cache-info")"
check_eq "TLS 1.1 is not spoken" "" "$(openssl s_client -connect "127.0.0.1:$port" -tls1_1 -cipher 'ALL:@SECLEVEL=0' </dev/null 2>/dev/null | grep -o 'Cipher is TLS.*')"
# Who connects and says nothing costs nothing, and half of a handshake not for long.
check "silent connections cost nothing, half a handshake ends" python3 -c '
import socket, sys, time

port, pid = int(sys.argv[1]), sys.argv[2]


def ticks():
    with open("/proc/%s/stat" % pid) as stat:
        return sum(map(int, stat.read().rsplit(")", 1)[1].split()[11:13]))


silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
before = ticks()
time.sleep(2)
assert ticks() - before < 50, "%d of 200 ticks" % (ticks() - before)
half = socket.create_connection(("127.0.0.1", port), 60)
half.sendall(bytes([22]))
assert half.recv(1) == b"", "it is answered"
' "$port" "$TLS_PID"
check_match "TLS 1.3 is" "TLSv1.3" "$(openssl s_client -connect "127.0.0.1:$port" </dev/null 2>/dev/null)"
push=(-X POST "$S/v2/app/blobs/uploads/")
check_eq "a client certificate is a user" 202 "$(secure --cert "$T/builder.crt" --key "$T/builder.key" "${push[@]}")"
check_eq "nobody without one" 401 "$(secure "${push[@]}")"
certificate for-clients /CN=builder extendedKeyUsage=clientAuth
check_eq "so is one that says it is for clients" 202 "$(secure --cert "$T/for-clients.crt" --key "$T/for-clients.key" "${push[@]}")"
certificate forging $'/CN=builder\ninfo: forged'
check_eq "one whose name has a line's end is nobody's" 401 "$(secure --cert "$T/forging.crt" --key "$T/forging.key" "${push[@]}")"
check_eq "and writes no line of the log" 0 "$(grep -c '^info: forged' "$T/tls.log")"
certificate for-servers /CN=builder extendedKeyUsage=serverAuth
got=$(secure --cert "$T/for-servers.crt" --key "$T/for-servers.key" "${push[@]}")
case $got in 401 | 000) ok "one for servers is none" ;; *) not_ok "one for servers is none" "$got" ;; esac
check_eq "another name has other rights" 403 "$(secure --cert "$T/stranger.crt" --key "$T/stranger.key" "${push[@]}")"
got=$(secure --cert "$T/selfmade.crt" --key "$T/builder.key" "${push[@]}")
case $got in 401 | 000) ok "a certificate that nobody signed is none" ;; *) not_ok "a certificate that nobody signed is none" "$got" ;; esac
check_eq "a password beside a certificate counts" 202 "$(secure -u bob:secret-bob --cert "$T/stranger.crt" --key "$T/stranger.key" "${push[@]}")"
mkdir -p "$T/certs" && cp "$T/ca.crt" "$T/certs/ca.crt"
check "skopeo pushes over TLS" skopeo --insecure-policy copy --quiet --dest-cert-dir "$T/certs" --dest-creds bob:secret-bob "oci:$T/hello:hello" "docker://127.0.0.1:$port/open/app:1"
check "and pulls" skopeo --insecure-policy copy --quiet --src-cert-dir "$T/certs" "docker://127.0.0.1:$port/open/app:1" "dir:$T/tls-pulled"
printf 'machine 127.0.0.1\nlogin bob\npassword secret-bob\n' >"$T/netrc"
check "nix uploads over TLS" env NIX_SSL_CERT_FILE="$T/ca.crt" nix copy --from "$FIXTURES" --no-check-sigs --to "$S" "$P" --option netrc-file "$T/netrc"
check "and downloads" env NIX_SSL_CERT_FILE="$T/ca.crt" nix copy --from "$S" --no-check-sigs --to "$(new_store tls)" "$P"
head -c 50000000 /dev/urandom >"$T/50m"
digest=sha256:$(sha256sum "$T/50m" | cut -d' ' -f1)
check_eq "50 MB go in" 201 "$(secure -u bob:secret-bob -X POST -H 'Content-Type: application/octet-stream' --data-binary "@$T/50m" "$S/v2/open/app/blobs/uploads/?digest=$digest")"
curl -s --cacert "$T/ca.crt" -u bob:secret-bob "$S/v2/open/app/blobs/$digest" -o "$T/50m.back"
check_same "and out" "$T/50m" "$T/50m.back"
subject() { openssl s_client -connect "127.0.0.1:$port" </dev/null 2>/dev/null | openssl x509 -noout -serial; }
before=$(subject)
certificate server /CN=localhost
curl -s --cacert "$T/ca.crt" --limit-rate 10M "$S/v2/open/app/blobs/$digest" -u bob:secret-bob -o "$T/slow" &
slow=$!
kill -HUP "$TLS_PID"
check "a renewed certificate is used" wait_for 10 sh -c "[ \"\$(openssl s_client -connect 127.0.0.1:$port </dev/null 2>/dev/null | openssl x509 -noout -serial)\" != '$before' ]"
wait "$slow"
check_eq "and connections that are open go on" 0 $?
check_same "to their end" "$T/50m" "$T/slow"
cp "$T/builder.key" "$T/server.key"
kill -HUP "$TLS_PID"
check "a key of another certificate is refused" wait_for 10 grep -q "not the key of the certificate" "$T/tls.log"
check_eq "and the old one stays" 200 "$(secure "$S/nix-cache-info")"
bad "a certificate that is none" "no chain of certificates" --set "tls={certificate: $T/hello, key: $T/ca.key}" --set "tls.certificate=$T/htpasswd"
bad "a key that is none" "no private key" --set "tls={certificate: $T/ca.crt, key: $T/htpasswd}"
bad "a certificate without a key" "needs a certificate and a key" --set "tls={certificate: $T/ca.crt}"
check_fails "https without a certificate" "needs tls.certificate" "$NACRE" serve --data "$T/d3" --listen "https://127.0.0.1:0"
