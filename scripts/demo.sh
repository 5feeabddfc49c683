#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# demo.sh - the vote scenario: a client (node2), the balancer (node1) and two nginx replicas in
# network namespaces; every step is shown as the command that a user would type.
#
# HOOK=auto|xdp|xdp-generic|tc chooses the interfaces' hook; GUEST=1 runs it all on Linux 6.1.
set -euo pipefail
cd "$(dirname "$0")/.."

HOOK=${HOOK:-auto}
case $HOOK in
auto | xdp | xdp-generic | tc) ;;
*)
	echo "demo.sh: HOOK: \"$HOOK\": one of auto, xdp, xdp-generic, tc" >&2
	exit 2
	;;
esac
if [[ ${GUEST:-0} == 1 ]]; then
	exec scripts/guest-run -m 2048 -e HOOK="$HOOK" -e MESHLB="${MESHLB:-build/meshlb}" \
		-- "$0"
fi
# shellcheck source=scripts/lab.sh
. scripts/lab.sh
lab_begin

if [[ -t 1 ]]; then readonly BOLD=$'\e[1m' PLAIN=$'\e[0m'; else readonly BOLD='' PLAIN=''; fi

title() { printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }

prompt() { printf '%s%s# %s%s\n' "$BOLD" "$1" "${*:2}" "$PLAIN"; }

show() { # COMMAND...: as typed on node1, where the lab's names are hidden
	prompt node1 "$@"
	if [[ $1 == meshlb ]]; then
		lab_meshlb "${@:2}"
	else
		lab_in node1 "$@"
	fi
}

# Six connections one after another; each must be answered by the other replica.
vote() { # 4|6
	local i page id before=''
	for i in 1 2 3 4 5 6; do
		prompt node2 "curl -$1 node1:8080 | grep -i \"container id\""
		page=$(lab_as_user node2 curl -sS -m 5 "-$1" node1:8080 | grep -i 'container id')
		echo "$page"
		id=${page##*container id }
		if [[ $id == "$before" ]]; then
			echo "demo: request $i was answered by the same replica as the one before" >&2
			return 1
		fi
		before=$id
	done
}

# Of the map's entries only those that are in use: with a name.
show_services() {
	prompt node1 "bpftool map dump pinned /sys/fs/bpf/meshlb/$LAB/lb_services"
	lab_in node1 bpftool map dump pinned "/sys/fs/bpf/meshlb/$LAB/lb_services" |
		awk '{ entry = entry $0 "\n"; used = used || /"name": "[^"]/ }
			/^    }/ { if (used) printf "%s", entry; entry = ""; used = 0 }'
}

title "Linux $(uname -r): a client node2, a balancer node1, replicas r1 and r2 (hook: $HOOK)"
lab_topology direct 2
lab_nginx r1 r2
lab_service vote '*:8080' 80 | lab_config >"$LAB_DIR/meshlb.yaml"
show cat "$LAB_DIR/meshlb.yaml"

title 'Put it into the kernel'
show meshlb check -f "$LAB_DIR/meshlb.yaml"
show meshlb apply -f "$LAB_DIR/meshlb.yaml"

title 'Vote: the replicas take turns, over IPv4 and over IPv6'
vote 4
vote 6

title 'What is there now; no program of ours runs any more'
show meshlb status
show meshlb service show vote
show_services
show cat "/sys/fs/bpf/meshlb/$LAB/connections"

title 'And away again'
show meshlb down
