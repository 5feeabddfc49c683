#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# demo.sh - `make demo` does what it says, quickly, and leaves nothing behind.
# hooks: auto xdp xdp-generic tc nft
# guest: ipvs full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

connections='cat /sys/fs/bpf/meshlb/.*/connections'
kernel_has_iterators || connections='no file "connections": this kernel refuses'
begin=$SECONDS
dump='bpftool map dump pinned .*lb_services' named='"name": "vote"'
case $HOOK in
nft)
	export DATAPATH=nft HOOK=auto
	dump='nft list table inet meshlb_default' named='comment "name vote"' connections='meshlb conn ls'
	;;
ipvs)
	export DATAPATH=ipvs HOOK=auto
	dump='ipvsadm -Ln' named='^FWM +[0-9]+ IPv6 rr' connections='meshlb conn ls'
	;;
esac
output=$(scripts/demo.sh 2>&1) || { printf '%s\nFAILED: exit code %s\n' "$output" $?; exit 1; }
printf '%s\n' "$output"
for pattern in 'curl -sS -4 node1:8080' 'curl -sS -6 node1:8080' 'container id [0-9a-f]{12}' \
	'meshlb apply' 'meshlb status' "$dump" "$named" \
	"$connections" '192\.0\.2\.2:[0-9]+' '2001:0?db8:[0:]*:0*2\]:[0-9]+' 'meshlb down'; do
	grep -qE "$pattern" <<<"$output" || { echo "FAILED: no /$pattern/ in the demo"; exit 1; }
done
spent=$((SECONDS - begin))
# The guest's emulated processor is some ten times slower.
((spent < 30 || ${TEST_GUEST:-0})) || { echo "FAILED: the demo took $spent s"; exit 1; }
