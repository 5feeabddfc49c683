#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# auto.sh - datapath auto with one capability after the other taken away: it goes on to the next datapath,
# says why, and serves.
# guest: ipvs
# limit: 300
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
lab_nginx r1 r2
lab_service vote '*:8080' 80 | lab_config | sed 's/^datapath: .*/datapath: auto/' >"$CONFIG"

step 'auto: without bpf() it is ipvs, without IPVS nft, and says why'
no_bpf() { lab_meshlb_without -bpf,-sys_admin "$@"; }
expect 0 no_bpf apply -f "$CONFIG"
expect_text "$ERR" 'datapath ipvs: datapath "ebpf": .*Operation not permitted'
expect_alternation 4 2
expect 0 no_bpf down

step 'the same without a way to attach tc programs'
printf 'install %s /bin/false\n' sch_ingress cls_bpf >/etc/modprobe.d/meshlb-test.conf
lab_until 20 modprobe -r cls_bpf sch_ingress || fail "clsact would not go: $(lsmod | grep -E 'cls_bpf|sch_ing')"
expect 0 lab_meshlb apply -f "$CONFIG"
expect_text "$ERR" 'datapath ipvs: datapath "ebpf": tcx or clsact'
expect_alternation 4 2
rm /etc/modprobe.d/meshlb-test.conf
expect 0 lab_meshlb apply -f "$CONFIG"
expect_text "$OUT" '^~ datapath ipvs -> ebpf$'
expect_alternation 4 2
expect 0 lab_meshlb down

step "without conntrack's netlink: nft refuses by name, and the others leave nothing undone"
take_away nf_conntrack_netlink
nft_in 'add table inet theirs; add chain inet theirs nat { type nat hook postrouting priority 100; }'
nft_in add rule inet theirs nat ct state new counter # that keeps conntrack at work
serves() { lab_service vote '*:8080' 80 | lab_config | sed "s/^datapath: .*/datapath: $1/" >"$LAB_DIR/small.yaml"; }
for datapath in ipvs ebpf; do
	serves $datapath
	expect 0 lab_meshlb apply -f "$LAB_DIR/small.yaml"
	lab_in node2 bash -c "echo >/dev/udp/$VIP4/9" # an entry
	(($(lab_in node1 sysctl -n net.netfilter.nf_conntrack_count) > 0)) || fail 'the lab: conntrack is empty'
	sed -i '/10.0.1.2:/d' "$LAB_DIR/small.yaml"
	expect 0 lab_meshlb apply -f "$LAB_DIR/small.yaml"
	expect_text "$OUT" '- 10.0.1.2:80'
done
nft_in delete table inet theirs
serves nft
expect 1 lab_meshlb apply -f "$LAB_DIR/small.yaml"
expect_text "$ERR" 'datapath "nft": this kernel does not tell what conntrack has .* nf_conntrack_netlink'
expect 0 lab_meshlb down
expect 0 lab_meshlb probe
expect_text "$OUT" '^nft +datapath +no .* nf_conntrack_netlink'
expect_text "$OUT" '^nft +nftables with NAT.* yes'
expect_text "$OUT" '^nft +conntrack by netlink \(module nf_conntrack_netlink\) +no '
rm /etc/modprobe.d/meshlb-test.conf

step 'auto without IPVS, too'
take_away ip_vs
lab_forward node1 # which ipvs has set, and given back
expect 0 no_bpf apply -f "$CONFIG"
expect_text "$ERR" 'datapath nft: datapath "ebpf": .*; datapath "ipvs": this kernel has no IPVS'
expect_alternation 4 2
expect 0 lab_meshlb apply -f "$CONFIG"
expect_text "$OUT" '^~ datapath nft -> ebpf$'

step 'auto without nftables, too: ebpf serves, and without bpf() nothing does, and says why'
expect 0 lab_meshlb down
take_away nf_tables 'nft_|nf_tables'
expect 1 no_bpf apply -f "$CONFIG"
expect_text "$ERR" 'no datapath works here: datapath "ebpf": .*; datapath "ipvs": .*; datapath "nft": this kernel has no nftables, nor'
expect 0 lab_meshlb apply -f "$CONFIG"
equal datapath "$(lab_meshlb -j status | jq -r .datapath)" ebpf
expect_alternation 4 2
expect 0 lab_meshlb probe
expect_text "$OUT" '^nft +datapath +no '

step 'IPVS, and no nftables to give the marks: refused by name'
expect 0 lab_meshlb down
sed -i /ip_vs/d /etc/modprobe.d/meshlb-test.conf
sed -i 's/^datapath: auto/datapath: ipvs/' "$CONFIG"
expect 1 apply
expect_text "$ERR" 'datapath "ipvs": this kernel has no nftables, nor'
expect 0 lab_meshlb probe
expect_text "$OUT" '^ipvs +IPVS \(module ip_vs\) +yes'
