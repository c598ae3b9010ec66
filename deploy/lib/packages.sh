# Sourced by deploy/up, deploy/test and the benchmarks: what of deploy/packages is missing, and getting it.
# Needs $root, the top of the source tree.

packages_of() { # GROUP... -> names
    awk -v groups=" $* " '/^[^#]/ && index(groups, " " $1 " ") { print $2 }' "$root/deploy/packages"
}

packages_missing() { # GROUP... -> names that are not installed
    local name
    for name in $(packages_of "$@"); do
        case "$(dpkg-query -W -f '${Status}' "$name" 2>/dev/null)" in
        *" installed") ;;
        *) echo "$name" ;;
        esac
    done
}

# Installs what is missing. Services that a package would start stay off: the tests run their own instances.
packages_install() { # GROUP...
    local missing line policy=/usr/sbin/policy-rc.d made=
    missing=$(packages_missing "$@" | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    line="apt-get update && apt-get install -y --no-install-recommends $missing"
    if [ "$(id -u)" != 0 ]; then
        echo "Packages are missing. Run this once as root, then come back:" >&2
        echo "  $line" >&2
        return 1
    fi
    echo "== installing: $missing"
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made=1
    fi
    local failed=0
    DEBIAN_FRONTEND=noninteractive sh -c "(apt-get -qq update || true) &&
        apt-get -qq install -y --no-install-recommends $missing" </dev/null >/dev/null || failed=1
    [ -z "$made" ] || rm -f "$policy"
    [ "$failed" = 0 ] || echo "apt-get could not install: $missing" >&2
    return "$failed"
}

# Unpacks the packages of the group "beside" below build/beside, without installing them.
packages_beside() {
    local name beside="$root/build/beside"
    for name in $(packages_of beside); do
        [ -e "$beside/.$name" ] && continue
        mkdir -p "$beside/archives"
        echo "== unpacking $name beside the system"
        (cd "$beside/archives" && apt-get -qq download "$name" 2>/dev/null || {
            [ "$(id -u)" = 0 ] && apt-get -qq update && apt-get -qq download "$name"; }) || return 1
        dpkg-deb -x "$beside"/archives/"$name"_*.deb "$beside" && touch "$beside/.$name" || return 1
    done
}
