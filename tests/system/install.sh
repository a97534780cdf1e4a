#!/bin/sh
# Installs the programs that the tests of this folder need, on Debian and Ubuntu, as root and outside of a running
# systemd; elsewhere it says what to install. On a machine with systemd the package of Prometheus would start a server.
set -eu

missing=
for pair in promtool:prometheus chromium:chromium chromedriver:chromium-driver systemd-analyze:systemd; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && [ ! -d /run/systemd/system ]; then
  echo "Installing$missing"
  export DEBIAN_FRONTEND=noninteractive
  # Somebody else's broken list of packages is no reason to stop, and another apt may be at work for a while.
  apt-get update -qq || echo "going on with the lists of packages that are there" >&2
  # shellcheck disable=SC2086 # a list of names
  exec apt-get install -qq --yes --no-install-recommends -o DPkg::Lock::Timeout=300 $missing >/dev/null
fi
echo "The tests of the system need:$missing" >&2
echo "On Debian and Ubuntu: apt-get install --no-install-recommends$missing; then run 'make test-system' again." >&2
exit 1
