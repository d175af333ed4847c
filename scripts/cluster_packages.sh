#!/bin/sh
# Packages of the system that `make test-cluster` needs: installed when we may, else named; tests without them are skipped and say so.
set -eu
wanted=
command -v java >/dev/null || wanted="$wanted openjdk-17-jre-headless"
command -v mvn >/dev/null || wanted="$wanted maven"
command -v redis-server >/dev/null || wanted="$wanted redis-server"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || wanted="$wanted postgresql"
ls /usr/lib/rabbitmq/bin/rabbitmq-server >/dev/null 2>&1 || wanted="$wanted rabbitmq-server"
[ -n "$wanted" ] || exit 0
install="apt-get install -y --no-install-recommends$wanted"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed:$wanted; tests that need them are skipped. On Debian, as root: $install" >&2
    exit 0
fi
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then # what is installed must not be started: tests start their own
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -q && $install || echo "not installed:$wanted; tests that need them are skipped and say so" >&2
