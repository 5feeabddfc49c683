#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# demo.sh - the vote scenario: a client (node2), the balancer (node1) and two nginx replicas in
# network namespaces; every step is shown as the command that a user would type.
#
# HOOK=auto|xdp|xdp-generic|tc chooses the interfaces' hook, DATAPATH=ebpf|ipvs|nft what executes it
# all; GUEST=1 runs it on Linux 6.1, and so does ipvs where this kernel has none.
set -euo pipefail
cd "$(dirname "$0")/.."

HOOK=${HOOK:-auto}
case ${DATAPATH:=ebpf} in
ebpf) ;;
ipvs | nft) HOOK=$DATAPATH ;;
*)
	echo "demo.sh: DATAPATH: \"$DATAPATH\": one of ebpf, ipvs, nft" >&2
	exit 2
	;;
esac
case $HOOK in
auto | xdp | xdp-generic | tc | ipvs | nft) ;;
*)
	echo "demo.sh: HOOK: \"$HOOK\": one of auto, xdp, xdp-generic, tc" >&2
	exit 2
	;;
esac
if [[ $DATAPATH == ipvs && ${GUEST:-0} != 1 && $EUID == 0 && ! -e /proc/net/ip_vs ]] &&
	! modprobe -q ip_vs; then
	echo "This kernel ($(uname -r)) has no IPVS: the demo runs on Debian's stock one, in QEMU."
	GUEST=1 scripts/setup.sh demo
	GUEST=1
fi
if [[ ${GUEST:-0} == 1 ]]; then
	[[ $DATAPATH == ebpf ]] || HOOK=auto
	exec scripts/guest-run -m 2048 -e HOOK="$HOOK" -e DATAPATH -e MESHLB="${MESHLB:-build/meshlb}" \
		-- env GUEST=0 "$0"
fi
# A mount namespace with a bpffs of its own: the instance is `default`, as a user's would be, whatever
# there is on this host; and all of it is gone with the demo.
if [[ $EUID == 0 && ${DEMO_MOUNTS:-} != private ]]; then
	DEMO_MOUNTS=private exec unshare --mount "$0"
fi
# shellcheck source=scripts/lab.sh
. scripts/lab.sh
lab_begin
mount -t bpf bpf /sys/fs/bpf
LAB_INSTANCES=(default)
mkdir "$LAB_DIR/bin"
ln -s "$MESHLB" "$LAB_DIR/bin/meshlb"
PATH=$LAB_DIR/bin:$PATH

if [[ -t 1 ]]; then readonly BOLD=$'\e[1m' PLAIN=$'\e[0m'; else readonly BOLD='' PLAIN=''; fi

title() { printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }

prompt() { printf '%s%s# %s%s\n' "$BOLD" "$1" "${*:2}" "$PLAIN"; }

# Runs a line of shell on a node just as it is shown; `meshlb` is the one that was built.
show() { # NODE LINE
	prompt "$1" "$2"
	lab_in "$1" timeout 20 bash -c "$2"
}

# Four connections one after another; each must be answered by the other replica.
vote() { # 4|6
	local i id before=''
	for i in 1 2 3 4; do
		show node2 "curl -sS -$1 node1:8080 | grep -i \"container id\"" | tee "$LAB_DIR/answer"
		id=$(sed -n 's/.*container id \([0-9a-f]*\).*/\1/p' "$LAB_DIR/answer")
		if [[ $id == "$before" ]]; then
			echo "demo: request $i was answered by the same replica as the one before" >&2
			return 1
		fi
		before=$id
	done
}

title "Linux $(uname -r): a client node2, a balancer node1, replicas r1 and r2 ($DATAPATH, hook: $HOOK)"
lab_topology direct 2
mount --bind "$LAB_DIR/hosts" /etc/hosts
lab_nginx r1 r2
lab_service vote '*:8080' 80 | lab_config >"$LAB_DIR/meshlb.yaml"
show node1 "cat $LAB_DIR/meshlb.yaml"

title 'Put it into the kernel'
show node1 "meshlb check -f $LAB_DIR/meshlb.yaml"
show node1 "meshlb apply -f $LAB_DIR/meshlb.yaml"

title 'Vote: the replicas take turns, over IPv4 and over IPv6'
vote 4
vote 6

title 'What is there now; no program of ours runs any more'
show node1 'meshlb status'
show node1 'meshlb service show vote'
case $DATAPATH in
nft)
	show node1 'nft list table inet meshlb_default'
	show node1 'meshlb conn ls'
	;;
ipvs)
	show node1 'ipvsadm -Ln'
	show node1 'nft list table inet meshlb-ipvs_default'
	show node1 'meshlb conn ls'
	;;
*)
	# The map is an array as long as the limit of services; awk leaves out the entries without a
	# name.
	show node1 "bpftool map dump pinned /sys/fs/bpf/meshlb/default/lb_services |
	awk -v RS='\n    },{\n' '/\"name\": \"[^\"]/'"
	if [[ -e /sys/fs/bpf/meshlb/default/connections ]]; then
		show node1 'cat /sys/fs/bpf/meshlb/default/connections'
	else # `status` said why
		show node1 'meshlb conn ls'
	fi
	;;
esac

title 'And away again'
show node1 'meshlb down'
