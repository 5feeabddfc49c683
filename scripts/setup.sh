#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# setup.sh build|demo|test|bench|lint - install just the Debian packages that this needs.
#
# Idempotent, and quick when nothing is missing. It starts no service (packages that bring a
# daemon are installed with its start denied, and not enabled for the next boot) and changes
# neither rules nor sysctls of the host.
set -euo pipefail

readonly POLICY=/usr/sbin/policy-rc.d
readonly SAVED=$POLICY.saved-by-meshlb
readonly MARK='# meshlb: starts denied while setup.sh installs'

readonly BUILD='clang llvm gcc libc6-dev linux-libc-dev make pkg-config bpftool libbpf-dev libelf-dev
	zlib1g-dev libmnl-dev libyaml-dev libjansson-dev libnftables-dev libnftnl-dev
	libnetfilter-conntrack-dev libkmod-dev'
readonly LAB='iproute2 util-linux procps ethtool curl nginx nftables ipvsadm'
readonly GUEST_PACKAGES='qemu-system-x86 busybox-static cpio kmod xz-utils'
readonly TEST='libclang-rt-14-dev libcmocka-dev python3 jq strace iperf3 unbound bind9-dnsutils
	iptables wrk'
readonly BENCH='iptables'
readonly LINT='clang-format clang-tidy cppcheck shellcheck'
# What of these has a unit that Debian enables for every boot.
readonly DAEMONS='nginx ipvsadm unbound'

usage() {
	cat <<-USAGE
		Usage: scripts/setup.sh build|demo|test|bench|lint

		Installs the Debian 12 packages that building meshlb, its demo, tests, bench or lint
		need and that are missing. Run it as root (sudo).
	USAGE
}

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup.sh: %s\n' "$*" >&2; exit 1; }

packages_for() {
	case $1 in
	build) echo "$BUILD" ;;
	demo) echo "$BUILD $LAB $([[ ${GUEST:-0} != 1 ]] || guest_packages)" ;;
	test) echo "$BUILD $LAB $TEST $(guest_packages)" ;;
	bench) echo "$BUILD $LAB $BENCH $(guest_packages)" ;;
	lint) echo "$BUILD $LINT" ;;
	esac
}

# The guest is an x86-64 one; elsewhere its tests are skipped.
guest_packages() { [[ $(uname -m) != x86_64 ]] || echo "$GUEST_PACKAGES"; }

# Prints those of its arguments that are not installed.
missing_of() {
	local have
	have=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
		sed -n 's/ installed$//p') || true
	printf '%s\n' "$@" | grep -vxF -f <(echo "$have") || true
}

# invoke-rc.d asks this program before it starts anything.
deny_starts() {
	if [[ -e $POLICY || -L $POLICY ]]; then
		mv "$POLICY" "$SAVED"
	fi
	printf '#!/bin/sh\n%s\nexit 101\n' "$MARK" >"$POLICY"
	chmod 755 "$POLICY"
}

allow_starts() {
	if grep -qsxF "$MARK" "$POLICY"; then
		rm -f "$POLICY"
	fi
	if [[ -e $SAVED || -L $SAVED ]]; then
		mv "$SAVED" "$POLICY"
	fi
}

apt() { apt-get -qy -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >"$LOG" 2>&1; }

install() {
	local daemon
	# One at a time: two would take each other's policy for the host's own.
	exec 9>/run/lock/meshlb-setup
	flock 9
	allow_starts # what a killed run may have left
	LOG=$(mktemp)
	trap 'allow_starts; rm -f "$LOG"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	deny_starts

	export DEBIAN_FRONTEND=noninteractive
	say "apt-get update"
	apt update || say "apt-get update failed; trying with the lists at hand"
	say "apt-get install $*"
	apt install --no-install-recommends "$@" || {
		cat "$LOG" >&2
		die "apt-get could not install: $*"
	}
	for daemon in $DAEMONS; do
		if [[ " $* " == *" $daemon "* ]]; then
			say "$daemon: not started, and not enabled at boot"
			deb-systemd-helper disable "$daemon.service" >/dev/null 2>&1 || true
			update-rc.d "$daemon" disable >/dev/null 2>&1 || true
		fi
	done
}

main() {
	local what=${1:-}
	local -a wanted missing
	case $what in
	build | demo | test | bench | lint) [[ $# == 1 ]] || { usage >&2; exit 2; } ;;
	-h | --help) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
	command -v dpkg-query >/dev/null ||
		die "this is not Debian: install what \"$(packages_for "$what" | xargs)\" are here by hand"

	read -r -d '' -a wanted < <(packages_for "$what") || true
	readarray -t missing < <(missing_of "${wanted[@]}")
	if [[ ${#missing[@]} == 0 ]]; then
		say "$what: all ${#wanted[@]} packages are installed"
	elif [[ $EUID != 0 ]]; then
		die "missing: ${missing[*]}
setup.sh: run \`sudo scripts/setup.sh $what\`, or \`apt-get install ${missing[*]}\` as root"
	else
		install "${missing[@]}"
	fi
	# The guest's kernel is fetched now, so that tests and bench need no network.
	if [[ " ${wanted[*]} " == *' qemu-system-x86 '* ]]; then
		say "Linux $("$(dirname "$0")/guest-run" --kernel-release) for the guest is at hand"
	fi
}

main "$@"
