#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# soak.sh - all backends are replaced over and over, each drained first, under load, while `apply`
# and upgrades run in a loop: no request fails, and meshlb counts what the client has counted.
# hooks: xdp
# full: tc
# limit: 1200
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

LENGTH=30 # seconds; and longer, until each backend has been replaced
[[ ${TEST_FULL:-0} != 1 ]] || LENGTH=600
readonly LOCK=$LAB_DIR/lock STOP=$LAB_DIR/stop
readonly SERVICES=(web bulk dns) SCHEDULERS=(rr wrr random)
readonly -A PORT=([web]=8080 [bulk]=5301 [dns]=5300)   # of the services,
readonly -A BACKEND=([web]=80 [bulk]=5201 [dns]=53) # and of their backends

# ------------------------------------------------------------------------------------- replicas

# Each service has two of the three replicas; the third is the next one's replacement.

# 300 requests a second; /slow takes two seconds. The first answer after a connection's first second
# says that it ends, as a server does that is about to leave: who holds connections open makes a
# drain wait for ever.
start_web() { # N
	local dir=$LAB_DIR/nginx-r$1
	mkdir -p "$dir/html"
	echo "r$1" >"$dir/html/index.html"
	head -c 2500 /dev/zero >"$dir/html/slow"
	# shellcheck disable=SC2016
	lab_nginx_conf "$dir" "r$1" | sed -E '
		s/access_log off;/& keepalive_time 1s; limit_req_zone $server_port zone=all:32k rate=300r\/s;/
		s/location = .blob .*/location = \/slow { limit_rate 1k; }/
		s/return 200 .*/limit_req zone=all burst=1000;/' >"$dir/nginx.conf"
	lab_spawn "r$1" nginx -q -p "$dir" -e "$dir/error.log" -c "$dir/nginx.conf"
}

start_bulk() { # N
	lab_spawn "r$1" iperf3 -s -p "${BACKEND[bulk]}" --forceflush >"$LAB_DIR/iperf3-r$1" 2>&1
}

start_dns() { # N
	unbound "$1"
}

start() { # SERVICE N
	"start_$1" "$2"
	echo "$LAB_PID" >"$LAB_DIR/$1-r$2.pid"
	lab_until 10 serves "$1" "$2"
}

stop() { # SERVICE N
	kill "$(<"$LAB_DIR/$1-r$2.pid")"
	lab_until 10 serves_not "$1" "$2"
}

serves() { # SERVICE N
	lab_listening "r$2" "${BACKEND[$1]}" "$([[ $1 == dns ]] && echo udp || echo tcp)"
}

serves_not() { ! serves "$@"; }

# -------------------------------------------------------------------------------------- changes

locked() { # COMMAND...: one at a time, which leaves the lock to nobody that it starts
	{
		flock 9
		"$@" 9>&-
	} 9>"$LOCK"
}

service() { # NAME SCHEDULER: on those replicas that are in the file NAME
	local -a v4=("${LAB_V4[@]}") v6=("${LAB_V6[@]}") LAB_V4=() LAB_V6=()
	local n
	for n in $(<"$LAB_DIR/$1"); do
		LAB_V4+=("${v4[n - 1]}")
		LAB_V6+=("${v6[n - 1]}")
	done
	lab_service "$1" "*:${PORT[$1]}/tcp,*:${PORT[$1]}/udp" "${BACKEND[$1]}" "$2"
}

# The replicas as the files say. Every other time the web's scheduler is another one and a service
# comes or goes as well; every eighth time the build is the other one.
apply_next() {
	local k=$(($(<"$LAB_DIR/applies") + 1))
	echo $k >"$LAB_DIR/applies"
	MESHLB=$(build_of $k)
	{
		service web "${SCHEDULERS[k / 2 % 3]}"
		service bulk sh # the connections of one iperf3 belong together
		service dns rr
		((k / 2 % 2)) || lab_service other '*:9000' 80 maglev
	} | lab_config >"$CONFIG"
	echo 'timeouts: { udp: 10s }' >>"$CONFIG" # for so long a drain waits
	apply
}

build_of() { # APPLY
	echo "${BUILDS[$1 / 8 % 2]}"
}

become() { # SERVICE N...: its replicas
	echo "${@:2}" >"$LAB_DIR/$1"
	apply_next
}

drain() { # SERVICE N [OPTION...]
	local at
	for at in "${LAB_V4[$2 - 1]}" "[${LAB_V6[$2 - 1]}]"; do
		lab_meshlb backend drain "$1" "$at:${BACKEND[$1]}" "${@:3}"
	done
}

# Over and over: the older of two replicas is replaced by the one that does not serve.
replace() { # SERVICE
	local old other spare=3 n
	for ((n = 0; SECONDS < END || n < 2; n++)); do
		read -r old other <"$LAB_DIR/$1"
		start "$1" "$spare"
		locked become "$1" "$old" "$other" "$spare"
		locked drain "$1" "$old"
		drain "$1" "$old" --wait --timeout 60s
		locked become "$1" "$other" "$spare"
		stop "$1" "$old"
		spare=$old
		echo $((n + 1)) >"$LAB_DIR/$1.replaced"
	done
}

apply_in_a_loop() {
	while ((SECONDS < END)); do
		locked apply_next
		lab_meshlb conn gc
		sleep 0.2
	done
}

# ----------------------------------------------------------------------------------------- load

# All loads print in the end "NAME REQUESTS FAILED".

# 60 connections: kept for a second, a new one for each request, and requests of two seconds.
begin_wrk() { # NAME
	local family host how
	local -a options
	WRK=()
	for family in 4 6; do
		host=$VIP4
		[[ $family == 4 ]] || host="[$VIP6]"
		for how in kept new slow; do
			options=()
			[[ $how != new ]] || options=(-H 'Connection: close')
			lab_spawn node2 wrk -t 1 -c 10 -d 2h --timeout 60s "${options[@]}" \
				"http://$host:${PORT[web]}/$([[ $how != slow ]] || echo slow)" \
				>"$LAB_DIR/$1-$how$family" 2>&1
			WRK+=("$LAB_PID")
		done
	done
}

end_wrk() { # NAME
	local log
	kill -INT "${WRK[@]}" # as if its time were over
	wait "${WRK[@]}"
	for log in "$LAB_DIR/$1"-*; do
		awk -v name="${log##*/}" '
			/requests in/ { n = $1 }
			/Socket errors/ { failed += $4 + $6 + $8 + $10 }
			/Non-2xx/ { failed += $NF }
			END { print name, n + 0, failed + 0 }' "$log"
	done
}

# wrk does not say so when nothing more comes on a connection.
hanging() {
	lab_in node2 ss -Htni state established "dport = :${PORT[web]}" | awk '
		match($0, /lastrcv:[0-9]+/) && substr($0, RSTART + 8, RLENGTH - 8) + 0 > 15000'
}

# Runs of iperf3 one after another: TCP and UDP, both ways, both families.
load_bulk() {
	local n=0 failed=0 udp=0 address log=$LAB_DIR/iperf3
	local -a options kinds=('-b 20M' '-b 20M -R' '-u -b 400K -l 200' '-u -b 400K -l 200 -R')
	while [[ ! -e $STOP ]]; do
		read -r -a options <<<"${kinds[n / 2 % 4]}"
		address=$VIP4
		((n % 2)) || address=$VIP6
		if [[ ${options[0]} == -u ]]; then
			# A port of its own makes a flow of its own.
			options+=(--cport $((30000 + udp++ % 2000)))
		fi
		locked open_bulk "$address" "${options[@]}"
		((++n))
		if ! wait "$LAB_PID" || ! grep -q receiver "$log" ||
			{ [[ ${options[0]} == -u ]] && ! grep -q ' 0/[0-9]* (0%)  receiver' "$log"; }; then
			((++failed))
			cat "$log" >&2
		fi
	done
	echo "bulk $n $failed"
	echo "$udp" >"$LAB_DIR/flows-bulk"
}

# A run has two connections, which may come to two replicas where these change in between: that is
# its own fault, so nothing changes until both are open.
open_bulk() { # ADDRESS OPTION...
	lab_until 10 bulk_is_ready
	lab_spawn node2 iperf3 -c "$1" -p "${PORT[bulk]}" -t 2 --forceflush "${@:2}" \
		>"$LAB_DIR/iperf3" 2>&1
	lab_until 10 grep -q 'connected to\|error' "$LAB_DIR/iperf3"
}

# A server of iperf3 that has served a run closes its port, and listens anew.
bulk_is_ready() {
	local n log
	for n in $(<"$LAB_DIR/bulk"); do
		log=$LAB_DIR/iperf3-r$n
		[[ $(grep -c 'Server listening' "$log") == $(($(grep -c 'Accepted' "$log") + 1)) ]] ||
			return 1
	done
}

# ------------------------------------------------------------------------------------- counting

# Counts what the client sends to each service and gets from it.
begin_counting() {
	local s
	# Packets count one by one where nobody makes large ones of several. (On XDP the client's end
	# of the link runs NAPI, which GRO brings, or a program.)
	[[ $HOOK != xdp ]] ||
		lab_in node2 ip link set eth0 xdp obj "$BUILD/tests/e2e/pass.bpf.o" sec xdp
	lab_in node2 ethtool -K eth0 tso off gso off gro off >/dev/null
	lab_in node2 ip link set eth0 gso_max_segs 1
	for s in r1 r2 r3; do
		lab_in $s ethtool -K eth0 tso off gso off >/dev/null
	done
	for s in "${SERVICES[@]}"; do
		echo "add counter inet soak ${s}_in; add counter inet soak ${s}_out"
		echo "add rule inet soak sent th dport ${PORT[$s]} counter name ${s}_in"
		echo "add rule inet soak got th sport ${PORT[$s]} counter name ${s}_out"
	done >"$LAB_DIR/rules"
	lab_in node2 nft -f - <<-RULES
		add table inet soak
		add chain inet soak sent { type filter hook output priority 0; }
		add chain inet soak got { type filter hook prerouting priority -300; }
		$(<"$LAB_DIR/rules")
	RULES
	OPENED=$(opened)
}

# TCP connections that the client has opened.
opened() {
	lab_in node2 cat /proc/net/snmp | awk '/^Tcp/ { n = $6 } END { print n }'
}

# "SERVICE in|out PACKETS BYTES"
counted_by_client() {
	lab_in node2 nft -j list counters table inet soak | jq -r '.nftables[].counter | values |
		"\(.name | sub("_"; " ")) \(.packets) \(.bytes)"' | sort
	echo "connections $(($(opened) - OPENED + $(cat "$LAB_DIR"/flows-* | paste -sd +)))"
}

counted_by_meshlb() {
	lab_meshlb -j stats >"$LAB_DIR/stats"
	jq -r '.services[] | select(.name != "other") |
		"\(.name) in \(.packets_in) \(.bytes_in)", "\(.name) out \(.packets_out) \(.bytes_out)"' \
		"$LAB_DIR/stats" | sort
	echo "connections $(jq '[.services[].connections] | add' "$LAB_DIR/stats")"
}

counters_agree() {
	counted_by_client >"$LAB_DIR/by-client"
	counted_by_meshlb >"$LAB_DIR/by-meshlb"
	cmp -s "$LAB_DIR/by-client" "$LAB_DIR/by-meshlb"
}

# ------------------------------------------------------------------------------------- the soak

readonly BUILDS=("$MESHLB" "$BUILD/next/meshlb")
lab_topology direct 3
# Few ports, each of which is used again within seconds.
lab_sysctl node2 net.ipv4.tcp_tw_reuse=1 net.ipv4.ip_local_port_range='40000 43999'
echo 0 >"$LAB_DIR/applies"
for s in "${SERVICES[@]}"; do
	echo 1 2 >"$LAB_DIR/$s"
	start "$s" 1
	start "$s" 2
done
apply_next
begin_counting

step "$LENGTH seconds of load and changes"
END=$((SECONDS + LENGTH))
begin_wrk wrk
lab_spawn node2 "$E2E/dns_load.py" "${PORT[dns]}" $VIP4 $VIP6 >"$LAB_DIR/dns-load"
dns=$LAB_PID
load_bulk >"$LAB_DIR/bulk-load" 2>"$LAB_DIR/log-bulk" &
bulk=$!
declare -A changing=()
for s in "${SERVICES[@]}"; do
	replace "$s" >"$LAB_DIR/log-replace-$s" 2>&1 &
	changing[$!]=$s
done
apply_in_a_loop >"$LAB_DIR/log-apply" 2>&1 &
changing[$!]=apply
LAB_PIDS+=("$bulk" "${!changing[@]}")
while ((${#changing[@]})); do
	status=0
	wait -n -p ended "${!changing[@]}" || status=$?
	((status == 0)) || fail "${changing[$ended]}: exit code $status: $(tail -n 5 "$LAB_DIR"/log-*)"
	unset "changing[$ended]"
done
equal 'connections of wrk on which nothing comes' "$(hanging)" ''
: >"$STOP"
kill "$dns"
wait "$dns" "$bulk" || fail "load: exit code $?: $(tail -n 5 "$LAB_DIR"/log-bulk)"
tail -n 1 "$LAB_DIR/dns-load" | awk '{ print "dns", $2, $4 }' >"$LAB_DIR/results"
tail -n 1 "$LAB_DIR/dns-load" | awk '{ print $6 }' >"$LAB_DIR/flows-dns"
{
	cat "$LAB_DIR/bulk-load"
	end_wrk wrk
} >>"$LAB_DIR/results"
echo "$(<"$LAB_DIR/applies") applies"
for s in "${SERVICES[@]}"; do
	echo "$s: $(<"$LAB_DIR/$s.replaced") replicas replaced"
done
repaired=$(grep -h '^repaired' "$LAB_DIR"/log-* | grep -v 'programs: they are of build' || true)
equal 'what had to be repaired' "$repaired" ''

step 'no request failed'
cat "$LAB_DIR/results"
while read -r name n failed; do
	((n > 0)) || fail "$name: no request was answered"
	((failed == 0)) || fail "$name: $failed failed: $(tail -n 50 "$LAB_DIR"/{log-bulk,dns-load,wrk-*})"
done <"$LAB_DIR/results"

step 'packets, bytes and connections: the same here and there'
lab_until 5 counters_agree ||
	fail "by the client, by meshlb: $(paste "$LAB_DIR/by-client" "$LAB_DIR/by-meshlb")"
cat "$LAB_DIR/by-meshlb"
lost=$(jq -c '.reasons[] | select(.xdp + .tc > 0 and (.drop or .name == "no-connection"))' "$LAB_DIR/stats")
equal 'what was dropped, or of no known connection' "$lost" ''
equal 'open connections that were pushed out' "$(jq .evicted.established "$LAB_DIR/stats")" 0
MESHLB=$(build_of "$(<"$LAB_DIR/applies")")
expect 0 verify

step 'a backend is killed instead of drained: requests fail, and we see it'
both_serve() {
	local n
	for n in $(<"$LAB_DIR/web"); do
		[[ $(lab_in "r$n" ss -Htn state established "sport = :${BACKEND[web]}" | wc -l) -gt 10 ]] ||
			return 1
	done
}
many_are_refused() {
	local n
	n=$(lab_in node2 cat /proc/net/snmp | awk '/^Tcp/ { n = $8 } END { print n }')
	((n > 100))
}
begin_wrk control
lab_until 10 both_serve
read -r victim _ <"$LAB_DIR/web"
victim=$(<"$LAB_DIR/web-r$victim.pid")
mapfile -t workers < <(pgrep -P "$victim")
kill -KILL "$victim" "${workers[@]}"
lab_until 10 many_are_refused
end_wrk control >"$LAB_DIR/control"
cat "$LAB_DIR/control"
while read -r name n failed; do
	((failed > 0)) || fail "$name: none of $n requests failed"
done <"$LAB_DIR/control"
