#!/bin/sh
# tsql (FreeTDS): tsql.sh PORT MODE CA SA_PASSWORD STATEMENTS. Errors of the server are shown, and do not end it.
set -eu
case $2 in none) word=off ;; login) word=request ;; tls) word=require ;; *) word=strict ;; esac
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cat > "$T/freetds.conf" <<CONF
[server]
host = localhost
port = $1
tds version = 7.4
encryption = $word
ca file = $3
CONF
run() { FREETDSCONF="$T/freetds.conf" TDSPORT=$1 tsql -S server -U "$2" -P "$3" -o q 2>&1; }
awk '{ print; print "go" }' "$5" | run "$1" sa "$4" | tee "$T/out"
! grep -q '^Msg' "$T/out"
printf 'SELECT SUSER_SNAME()\ngo\n' | run "$1" "it's" "Second'2-Pass" | grep -q "it's"
printf 'SELECT 1\ngo\n' | run "$1" "it's" First-Pass-1 | grep -q 'Msg 18456'
echo ok
