#!/bin/bash
# Foreign clients against the server, each in the modes that it has: the table of README.md. `run.sh FOLDER [CLIENT...]`: FOLDER gets what is
# installed (pip, npm, go, mvn) and is kept. The server is built first: cargo build --workspace --bin keywheel-tds.
set -u
limit='timeout 60'
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../../.." && pwd)
folder=$(mkdir -p "$1" && cd "$1" && pwd)
shift
clients=${*:-tsql python-tds pymssql tedious go-mssqldb mssql-jdbc}
cd "$folder" || exit 2
password=Sa-Pass-$RANDOM$RANDOM
if [ ! -f ca.pem ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 30 -subj /CN=ca 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out csr.pem -subj /CN=localhost 2>/dev/null
    openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out cert.pem \
        -extfile <(printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE') 2>/dev/null
fi

install() {
    case $1 in
    tsql) command -v tsql >/dev/null || apt-get install -y -qq --no-install-recommends freetds-bin ;;
    python-tds | pymssql) [ -d py ] || { python3 -m venv py && py/bin/pip -q install python-tds==1.17.1 pyOpenSSL pymssql==2.4.6; } ;;
    tedious) [ -d node_modules/tedious ] || npm i --silent tedious@19.2.2 ;;
    go-mssqldb) mkdir -p go && cp "$here/go/main.go" go/ && (cd go && { [ -f go.mod ] || go mod init client; } &&
        go get github.com/microsoft/go-mssqldb@v1.11.2 && go build -o ../go-client .) ;;
    mssql-jdbc) [ -d jars ] || mvn -q dependency:copy -Dartifact=com.microsoft.sqlserver:mssql-jdbc:12.10.1.jre11 -DoutputDirectory="$folder/jars"
        [ -f trust.p12 ] || keytool -importcert -noprompt -alias ca -file ca.pem -keystore trust.p12 -storetype PKCS12 -storepass changeit ;;
    esac
}

# Of one client in one mode; a minute is more than any of them needs.
call() {
    local arguments=("$port" "$2" "$folder/ca.pem" "$password" "$here/statements.sql")
    case $1 in
    tsql) $limit "$here/tsql.sh" "${arguments[@]}" ;;
    python-tds) $limit py/bin/python "$here/python_tds.py" "${arguments[@]}" ;;
    pymssql) $limit py/bin/python "$here/pymssql_.py" "${arguments[@]}" ;;
    tedious) $limit node "$here/tedious.mjs" "${arguments[@]}" ;;
    go-mssqldb) $limit ./go-client "${arguments[@]}" ;;
    mssql-jdbc) arguments[2]=$folder/trust.p12 && $limit java -cp "jars/*" "$here/Jdbc.java" "${arguments[@]}" ;;
    esac
}

failed=0
for client in $clients; do
    install "$client" >"install-$client.log" 2>&1 || { echo "$client: not installed (install-$client.log)"; failed=1; continue; }
    for mode in none login tls strict; do
        # What a client does not have.
        case $client-$mode in tsql-strict | python-tds-strict | pymssql-strict | tedious-login) continue ;; esac
        encryption=optional
        [ $mode = none ] && encryption=none
        [ $mode = strict ] && encryption=strict
        [ $mode = tls ] && encryption=required
        rm -f server.out
        TDS_SA_PASSWORD=$password "$root/target/debug/keywheel-tds" --encryption $encryption --certificate cert.pem --key key.pem >server.out &
        server=$!
        until grep -q listening server.out 2>/dev/null; do sleep 0.05; done
        port=$(sed 's/.*://' server.out)
        if call "$client" $mode >"$client-$mode.log" 2>&1; then result=ok; else result="failed ($client-$mode.log)"; failed=1; fi
        echo "$client $mode $result"
        kill $server
        wait $server 2>/dev/null
    done
done
exit $failed
