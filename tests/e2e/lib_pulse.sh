# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# lib_pulse.sh - sourced after lib.sh: thousands of connections that carry data all the time, and a
# stream of datagrams, through a service of two replicas; and that nothing of it is lost.

readonly EVERY=2 # seconds from one message of a connection to its next

# Both directions, where the client and the replicas send and receive. With offloads off nothing is
# merged or cut on the way, so that one packet there is one here.
count_packets() { # NS PORT
	lab_in "$1" ethtool -K eth0 gro off gso off tso off >/dev/null
	# Behind a queue a full veth has its sender wait (Linux 6.16), without one it drops.
	lab_in "$1" tc qdisc replace dev eth0 root pfifo limit 20000
	lab_in "$1" nft -f - <<-NFT
		table inet count {
			counter tcp_out { }
			counter tcp_in { }
			counter udp_out { }
			counter udp_in { }
			chain out {
				type filter hook postrouting priority 300;
				tcp sport $2 counter name tcp_out
				tcp dport $2 counter name tcp_out
				udp sport $2 counter name udp_out
				udp dport $2 counter name udp_out
			}
			chain in {
				type filter hook prerouting priority -400;
				tcp sport $2 counter name tcp_in
				tcp dport $2 counter name tcp_in
				udp sport $2 counter name udp_in
				udp dport $2 counter name udp_in
			}
		}
	NFT
}

# Segments that TCP has sent once more, in all namespaces with sockets.
retransmitted() {
	local ns
	for ns in node2 r1 r2; do
		lab_in "$ns" grep '^Tcp: [0-9]' /proc/net/snmp | cut -d' ' -f13
	done | jq -s add
}

dropped() {
	lab_meshlb -j stats | jq '[.reasons[] | select(.drop) | .xdp, .tc] | add // 0'
}

pulse_client() { # NAME ARGUMENT...
	lab_spawn node2 "$E2E/pulse.py" "${@:2}" >"$LAB_DIR/$1.pulse" 2>&1
	PULSES+=("$1:$LAB_PID")
}

# Returns when all connections are open and carry data.
pulse_begin() { # IPV4_CONNECTIONS IPV6_CONNECTIONS
	local ns name
	PULSES=()
	lab_topology direct 2
	lab_service echo '*:7777/tcp,*:7777/udp' 7777 | lab_config >"$CONFIG"
	for ns in r1 r2; do
		lab_spawn "$ns" "$E2E/pulse.py" serve 7777
		lab_until 10 lab_listening "$ns" 7777
	done
	for ns in node2 r1 r2; do
		count_packets "$ns" 7777
	done
	BACKLOG=$(backlog_dropped_ever)
	apply
	pulse_client tcp4 hold "$VIP4" 7777 "$1" $EVERY
	pulse_client tcp6 hold "$VIP6" 7777 "$2" $EVERY
	pulse_client udp4 stream "$VIP4" 7777 0.005
	pulse_client udp6 stream "$VIP6" 7777 0.005
	for name in tcp4 tcp6 udp4 udp6; do
		lab_until 60 grep -q open "$LAB_DIR/$name.pulse" || fail "$(cat "$LAB_DIR/$name.pulse")"
	done
	sleep $EVERY
	RETRANSMITTED=$(retransmitted)
	echo "connections: $(lab_meshlb conn count), retransmitted while they opened: $RETRANSMITTED"
}

pulse_end() {
	local one name
	for one in "${PULSES[@]}"; do
		kill "${one#*:}"
	done
	for one in "${PULSES[@]}"; do
		name=${one%:*}
		wait "${one#*:}" || fail "$name: $(tail -n 5 "$LAB_DIR/$name.pulse")"
		grep -qE '^connections [0-9]+ answered [1-9][0-9]* broken 0 wrong 0 lost 0$' \
			"$LAB_DIR/$name.pulse" || fail "$name: $(tail -n 5 "$LAB_DIR/$name.pulse")"
		echo "$name: $(tail -n 1 "$LAB_DIR/$name.pulse")"
	done
	lab_until 5 pulse_is_whole ||
		fail "packets that left and packets that came: $(pulse_sent), $(pulse_received)," \
			"dropped by the kernel's backlog: $(backlog_dropped)"
	echo "packets each way, TCP and UDP: $(pulse_sent), of them dropped by the kernel's backlog: $(backlog_dropped)"
	echo "retransmitted since they were open: $(($(retransmitted) - RETRANSMITTED))"
	equal 'packets that were dropped' "$(dropped)" 0
}

# Has each packet that one end sent come to the other? But for those that the kernel had no room for between
# two interfaces, as it says: where other work keeps a processor from them. (Once of 20 times beside a guest.)
pulse_is_whole() {
	local -a sent came
	local missing=0 i
	read -ra sent <<<"$(pulse_sent)"
	read -ra came <<<"$(pulse_received)"
	for i in "${!sent[@]}"; do
		((sent[i] >= came[i])) || return 1
		((missing += sent[i] - came[i])) || true
	done
	((missing == 0 || missing == $(backlog_dropped)))
}

# Since pulse_begin, on the whole machine.
backlog_dropped() { echo $(($(backlog_dropped_ever) - BACKLOG)); }
backlog_dropped_ever() {
	local _ dropped sum=0
	while read -r _ dropped _; do
		((sum += 16#$dropped)) || true
	done </proc/net/softnet_stat
	echo $sum
}

# By the client, and by the replicas.
pulse_sent() { echo "$(packets node2 out) $(packets "r1 r2" out)"; }
pulse_received() { echo "$(packets "r1 r2" in) $(packets node2 in)"; }

packets() { # NAMESPACES in|out: of TCP, and of UDP
	local ns proto
	for proto in tcp udp; do
		for ns in $1; do
			lab_in "$ns" nft -j list counter inet count "${proto}_$2" |
				jq '.nftables[1].counter.packets'
		done | jq -s add
	done | paste -sd' '
}
