#!/usr/bin/env bash
# Runs a command with a PostgreSQL of its own, which goes when the command ends. For the command
# MESHWRIGHT_POSTGRES is the URL of an empty database, MESHWRIGHT_POSTGRES_TLS the same over TLS with a
# certificate for `localhost` that the file MESHWRIGHT_POSTGRES_ROOT vouches for, and
# MESHWRIGHT_POSTGRES_RESTART a program that crashes the server and starts it again after as many
# seconds as it is told.
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: $0 COMMAND..." >&2; exit 2; }

# The major version of compose.yaml; another one is taken where it is not installed, and named.
major=15
initdb=$(ls -d "/usr/lib/postgresql/$major/bin/initdb" 2>/dev/null || command -v initdb ||
  ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -1)
[ -n "$initdb" ] || { echo "missing: postgresql; scripts/setup.sh --postgres installs it" >&2; exit 2; }
bin=$(dirname "$(readlink -f "$initdb")")
case $("$bin/initdb" --version) in
  *" $major."*) ;;
  *) echo "compose.yaml runs PostgreSQL $major, this is $("$bin/initdb" --version)" >&2 ;;
esac

folder=$(mktemp -d -t meshwright-postgres.XXXXXX)
# The server refuses to run as root: it runs as the user that the distribution's package makes.
as=()
password=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
(umask 077 && echo "$password" > "$folder/password")
if [ "$(id -u)" = 0 ]; then
  chown postgres "$folder" "$folder/password"
  as=(runuser -u postgres --)
fi
ctl() { (cd "$folder" && "${as[@]}" "$bin/pg_ctl" -D "$folder/data" -s -w "$@" >/dev/null); }
end() {
  ctl -m immediate stop 2>/dev/null || true
  rm -rf "$folder"
}
trap end EXIT
trap 'exit 130' INT TERM

(cd "$folder" && "${as[@]}" "$bin/initdb" -D data -U meshwright -E UTF8 --locale=C \
  --auth=scram-sha-256 --pwfile=password >/dev/null)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(cd "$folder" && "${as[@]}" openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
  -keyout data/server.key -out data/server.crt 2>/dev/null)
install -m 644 "$folder/data/server.crt" "$folder/root.crt"
cat >> "$folder/data/postgresql.conf" <<END
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$folder'
ssl = on
END
ctl -l "$folder/log" start
cat > "$folder/restart" <<END
#!/usr/bin/env bash
cd "$folder"
${as[*]} "$bin/pg_ctl" -D "$folder/data" -s -w -m immediate stop >/dev/null
sleep "\${1:-1}"
${as[*]} "$bin/pg_ctl" -D "$folder/data" -s -w -l "$folder/log" start >/dev/null
END
chmod 755 "$folder" "$folder/restart"
PGPASSWORD=$password "$bin/createdb" -h "$folder" -p "$port" -U meshwright plans

export MESHWRIGHT_POSTGRES="postgres://meshwright:$password@/plans?host=${folder//\//%2F}&port=$port"
export MESHWRIGHT_POSTGRES_TLS="postgres://meshwright:$password@localhost:$port/plans?sslmode=verify-full"
export MESHWRIGHT_POSTGRES_ROOT="$folder/root.crt"
export MESHWRIGHT_POSTGRES_RESTART="$folder/restart"
"$@"
