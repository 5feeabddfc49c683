#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# checksums.sh - every packet is verified where it arrives, with all offloads off: TCP and UDP,
# IPv4 and IPv6, UDP without a checksum; and each has been forwarded with its TTL one less.
# hooks: xdp xdp-generic tc
# guest: full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

readonly RECEIVERS='node2 r1 r2'
lab_topology direct 2
# XDP_TX and XDP_REDIRECT into a veth need a program or GRO at its other end; GRO would join packets.
for ns in $RECEIVERS; do
	lab_in "$ns" ip link set eth0 xdp object "$BUILD/tests/e2e/pass.bpf.o" section xdp
	lab_in "$ns" ethtool -K eth0 tx off rx off gso off tso off gro off sg off >/dev/null
done
for iface in "${LAB_IFACES[@]}"; do
	lab_in node1 ethtool -K "$iface" tx off rx off gso off tso off gro off sg off >/dev/null
done
lab_nginx r1 r2
for ns in r1 r2; do
	lab_spawn $ns "$E2E/udp_echo.py" serve 5000
	lab_until 5 lab_listening $ns 5000 udp
done
{
	lab_service vote '*:8080' 80
	lab_service echo '*:5000/udp' 5000
} | lab_config >"$CONFIG"
apply

declare -A verifier=()
for ns in $RECEIVERS; do
	lab_spawn "$ns" "$E2E/checksums.py" eth0 >"$LAB_DIR/$ns.log" 2>&1
	verifier[$ns]=$LAB_PID
	lab_until 5 grep -q ready "$LAB_DIR/$ns.log"
done

for family in 4 6; do
	expect_alternation $family 6
	equal bytes "$(blob $family)" 8388608
	lab_as_user node2 curl -sS -m 20 -$family -o /dev/null -T "$LAB_DIR/nginx-r1/html/blob" \
		node1:8080/
done
for size in 1 2 17 512 1400; do
	for address in $VIP4 $VIP6; do
		expect 0 lab_in node2 "$E2E/udp_echo.py" ask "$address" 5000 20 "$size"
	done
	expect 0 lab_in node2 "$E2E/udp_echo.py" ask $VIP4 5000 20 "$size" nocheck
done

sleep 0.5
for ns in $RECEIVERS; do
	kill "${verifier[$ns]}"
	wait "${verifier[$ns]}" || fail "$ns received wrong packets:"$'\n'"$(cat "$LAB_DIR/$ns.log")"
	echo "$ns: $(grep -v ready "$LAB_DIR/$ns.log" | xargs)"
	for kind in tcp4 tcp6 udp4 udp6 udp4-zero; do
		grep -qE "^$kind [0-9]{2,} 63$" "$LAB_DIR/$ns.log" ||
			fail "$ns: not ten packets of $kind, or not all with TTL 63"
	done
	equal "$ns: packets that the verifier missed" "$(sed -n 's/^unseen //p' "$LAB_DIR/$ns.log")" 0
done
