#!/bin/sh
# Installs what is missing from Debian packages. Does nothing, quickly, when nothing is missing.
#
#   scripts/setup.sh [build|test|check|fuzz|bench]...     (default: build)
#
# Needs root or sudo only when something is missing; without both it names the exact command.
set -eu

# One word each: a Debian package, or package:command where any installed command of that name
# will do as well (a Node that came from elsewhere, say).
BUILD="gcc libc6-dev make cmake ninja-build pkg-config python3:python3 ca-certificates
  libmicrohttpd-dev libjansson-dev libsqlite3-dev libpq-dev libssl-dev libpcre2-dev libyaml-dev
  libcurl4-openssl-dev libwslay-dev libhiredis-dev libopenblas-dev libcmocka-dev"
TEST="redis-server:redis-server postgresql swift-proxy swift-account swift-container swift-object
  python3-venv curl:curl openssl:openssl nodejs:node npm:npm"
CHECK="git:git clang-format:clang-format clang-tidy:clang-tidy shellcheck:shellcheck pyflakes3:pyflakes3"
FUZZ="clang:clang libclang-rt-14-dev"
BENCH="wrk:wrk nginx-light:nginx"

packages=
for group in "${@:-build}"; do
        case $group in
        build) packages="$packages $BUILD" ;;
        test) packages="$packages $TEST" ;;
        check) packages="$packages $CHECK" ;;
        fuzz) packages="$packages $FUZZ" ;;
        bench) packages="$packages $BENCH" ;;
        *)
                echo "setup: unknown group '$group' (build, test, check, fuzz, bench)" >&2
                exit 2
                ;;
        esac
done

if ! command -v dpkg-query >/dev/null; then
        echo "setup: not a Debian system; install what these packages hold and build again:$packages" >&2
        exit 1
fi

wanted=
for word in $packages; do
        case $word in
        *:*) command -v "${word#*:}" >/dev/null || wanted="$wanted ${word%%:*}" ;;
        *) wanted="$wanted $word" ;;
        esac
done
[ -n "$wanted" ] || exit 0

# One query for all; a package it does not list as installed is missing.
# shellcheck disable=SC2016,SC2086
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null || true)
missing=
for package in $wanted; do
        case "
$installed
" in
        *"
installed $package
"*) ;;
        *) missing="$missing $package" ;;
        esac
done
[ -n "$missing" ] || exit 0

install="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" -eq 0 ]; then
        as_root=
elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        as_root=sudo
else
        echo "setup: missing packages; run this as root, then try again:" >&2
        echo "  apt-get update && $install" >&2
        exit 1
fi

echo "setup: installing$missing"
export DEBIAN_FRONTEND=noninteractive
# The lists may be older than the mirror or absent: refresh them only when installing fails.
# shellcheck disable=SC2086
if ! $as_root $install >/dev/null 2>&1; then
        $as_root apt-get update -q
        $as_root $install
fi
