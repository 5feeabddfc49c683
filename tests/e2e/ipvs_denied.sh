#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# ipvs_denied.sh - ipvs where something is denied to it: a full /run, sysctls that cannot be set, the
# signs by which it knows what is its own.
# guest: ipvs
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

TABLE=meshlb-ipvs_$LAB

lab_topology direct 2
lab_nginx r1 r2
lab_service vote '*:8080' 80 | lab_config >"$CONFIG"
for datapath in nft auto; do
	sed "s/^datapath: .*/datapath: $datapath/" "$CONFIG" >"$LAB_DIR/$datapath.yaml"
done
modprobe ip_vs

step 'a full /run: nothing is made there; what stands can be drained and changed'
full() { # ARGUMENT...: in a mount namespace with a copy of /run/meshlb and no room for more
	# shellcheck disable=SC2016
	lab_in node1 unshare -m sh -c 'dir=$1 && shift && mkdir -p /run/meshlb && cp -a /run/meshlb "$dir/copy" &&
		mount -t tmpfs -o size=64k none /run && mv "$dir/copy" /run/meshlb &&
		! head -c 100000 /dev/zero 2>/dev/null >/run/fill && exec "$@"' - \
		"$LAB_DIR" "$MESHLB" --instance "$LAB" "$@"
}
expect 1 full apply -f "$CONFIG"
expect_text "$ERR" 'No space left on device'
equal tables "$(nft_in list tables)" ''
expect 0 apply
expect 0 full backend drain vote 10.0.1.2:80
expect 0 full backend undrain vote 10.0.1.2:80
sed '/10.0.1.2/d' "$CONFIG" >"$LAB_DIR/less.yaml"
expect 0 full apply -f "$LAB_DIR/less.yaml"
expect 0 lab_meshlb verify -f "$LAB_DIR/less.yaml"

step 'a read-only /run: verify, which needs no lock, tells the difference and nothing else'
# shellcheck disable=SC2016
expect 3 lab_in node1 unshare -m sh -c 'mount --bind /run/meshlb /run/meshlb &&
	mount -o remount,ro,bind /run/meshlb && exec "$@"' - "$MESHLB" --instance "$LAB" verify -f "$CONFIG"
expect_text "$OUT" '\+ 10\.0\.1\.2:80'
[[ $OUT$ERR != *lock* ]] || fail "no difference: $OUT$ERR"

step 'its table is emptied and its note gone: no change of datapath leaves that behind, down says so'
nft_in flush set inet "$TABLE" model
rm /run/meshlb/ipvs-*
lost="instance \"$LAB\": set \"model\" in table \"inet $TABLE\" is empty, and the note in /run/meshlb is gone"
for command in 'apply -f' 'verify -f'; do # shellcheck disable=SC2086
	expect 1 lab_meshlb $command "$LAB_DIR/nft.yaml"
	expect_text "$ERR" "$lost"
done
equal tables "$(nft_in list tables)" "table inet $TABLE"
expect 1 lab_meshlb down
expect_text "$ERR" "$lost"
nft_in delete table inet "$TABLE"
lab_in node1 ipvsadm -C

step 'auto: sysctls of IPVS are right, but forwarding cannot be set: nft serves, and it says why'
for name in conntrack conn_reuse_mode expire_nodest_conn expire_quiescent_template; do
	lab_sysctl node1 "net.ipv4.vs.$name=1"
done
lab_sysctl node1 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=0
read_only() {
	# shellcheck disable=SC2016
	lab_in node1 unshare -m sh -c 'mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys &&
		exec setpriv --bounding-set -bpf,-sys_admin --inh-caps -bpf,-sys_admin "$@"' - \
		"$MESHLB" --instance "$LAB" "$@"
}
expect 0 read_only apply -f "$LAB_DIR/auto.yaml"
expect_text "$ERR" 'datapath nft: .*datapath "ipvs": setting /proc/sys/net/ipv6/conf/all/forwarding to 1: Read-only file system'
ask 4 >/dev/null || fail 'nobody answers'
expect 0 lab_meshlb down

step 'what a killed change has left on two others, and a change to this one: all of it is moved'
sed 's/^datapath: .*/datapath: ebpf/' "$CONFIG" >"$LAB_DIR/ebpf.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/nft.yaml"
nft_in list table inet "meshlb_$LAB" >"$LAB_DIR/table"
expect 0 lab_meshlb apply -f "$LAB_DIR/ebpf.yaml"
nft_in -f - <"$LAB_DIR/table"
expect 0 lab_in node1 timeout 100 "$MESHLB" --instance "$LAB" apply -f "$CONFIG"
expect 0 verify
equal tables "$(nft_in list tables)" "table inet $TABLE"
[[ ! -e $PINS ]] || fail 'it is on ebpf, too'
expect 0 lab_meshlb down
