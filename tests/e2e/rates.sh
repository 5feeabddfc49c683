#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# rates.sh - `rates:`: who opens connections without a pause is held to the rate, while others and
# what is open notice nothing; changed under way; counted; shown, exported, refused elsewhere.
# hooks: xdp
# full: tc
# guest: full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

readonly RATE=30 GREEDY4=192.0.2.66 GREEDY6=2001:db8::66 OTHER6=2001:db8::77

rates() { # RATES
	lab_service vote '*:8080' 80 | lab_config
	echo "rates: $1"
}

change() { # RATES
	rates "$1" >"$CONFIG"
	apply >/dev/null
}

connections() { lab_meshlb -j stats | jq '.services[0].connections'; }

# SYNs that left node2 from the greedy addresses.
count_syns() {
	lab_in node2 nft -f - <<-EOF
		table inet syns {
			counter sent { }
			chain out {
				type filter hook output priority 0
				tcp flags & (syn | ack) == syn tcp dport 8080 counter name sent
			}
		}
	EOF
}
syns() { lab_in node2 nft -j list counter inet syns sent | jq '.nftables[].counter.packets // empty'; }

greedy() { # NAME SOURCE SECONDS: in the background; its pid is in $LAB_PID
	local to=$VIP4
	[[ $2 != *:* ]] || to=$VIP6
	lab_spawn node2 "$E2E/greedy.py" "$2" "$to" 8080 "$3" >"$LAB_DIR/$1"
}

opened() { # NAME...: by all of them, and the time from the first one's begin to the last one's end
	awk 'NR == 1 || $4 < from { from = $4 } NR == 1 || $6 > to { to = $6 } { sum += $2 }
		END { printf "%d %.3f\n", sum, to - from }' "${@/#/$LAB_DIR/}"
}

within() { # WHAT OPENED SECONDS RATE: as many as the rate lets in, no more and not much less
	echo "$1: $2 connections in $3 s at $4 a second"
	awk -v n="$2" -v t="$3" -v rate="$4" \
		'BEGIN { exit !(n <= rate * (1 + t) && n >= rate * (0.8 + 0.8 * t)) }' ||
		fail "$1: $2 connections in $3 s at $4 a second"
}

others_succeed() { # TIMES: curl from the usual client, slower than the rate
	local i
	for ((i = 0; i < $1; i++)); do
		[[ $(ask 4) && $(ask 6) ]] || fail "another client's request $i"
		sleep 0.1
	done
}

lab_topology direct 2
lab_nginx r1 r2
lab_addr node2 eth0 $GREEDY4/24 $GREEDY6/64 $OTHER6/64
count_syns

step 'shown, exported, and no difference to themselves'
change "{ per-source: $RATE, source-mask6: 128 }"
expect 0 lab_meshlb status
expect_text "$OUT" "^rates: per-source $RATE of /32 and /128$"
equal 'by JSON' "$(lab_meshlb -j status | jq -c .rates)" \
	"{\"per_cpu\":0,\"per_source\":$RATE,\"source_mask\":32,\"source_mask6\":128}"
equal 'export | apply' "$(lab_meshlb export | lab_meshlb apply -f -)" 'no difference'
expect 0 verify

step 'a greedy client of each family beside one that is not'
held4=$(hold_open held4 4)
held6=$(hold_open held6 6)
before=$(($(connections) + $(reason rate-source))) syns=$(syns)
greedy one4 $GREEDY4 5
pids=("$LAB_PID")
greedy one6 $GREEDY6 5
others_succeed 12
wait "${pids[0]}" "$LAB_PID"
# shellcheck disable=SC2046
within 'by IPv4' $(opened one4) $RATE
# shellcheck disable=SC2046
within 'by IPv6' $(opened one6) $RATE
equal 'a connection that is open' "$(ask_held held4) $(ask_held held6)" "$held4 $held6"
equal 'connections and refused SYNs' $(($(connections) + $(reason rate-source) - before)) \
	$(($(syns) - syns))
equal 'by CPU' "$(reason rate-cpu)" 0

step 'two of one network are one source, unless the mask says otherwise'
greedy a $GREEDY6 3 && pids=("$LAB_PID")
greedy b $OTHER6 3
wait "${pids[0]}" "$LAB_PID"
read -r n t < <(opened a b)
within 'two of /128' $((n / 2)) "$t" $RATE
change "{ per-source: $RATE }"
expect 0 lab_meshlb status
expect_text "$OUT" "^rates: per-source $RATE of /32 and /64$"
sleep 1.1
greedy a $GREEDY6 3 && pids=("$LAB_PID")
greedy b $OTHER6 3
wait "${pids[0]}" "$LAB_PID"
# shellcheck disable=SC2046
within 'two of a /64' $(opened a b) $RATE

step 'raised, and taken away, while somebody is held to it'
greedy raised $GREEDY4 4
sleep 1
rates '{ per-source: 10000000 }' >"$CONFIG"
expect 0 apply
expect_text "$OUT" "^~ defaults: rates.per-source $RATE -> 10000000$"
wait "$LAB_PID"
read -r n t < <(opened raised)
((n > 2 * RATE * 5)) || fail "raised: $n connections in $t s"
rates '{}' >"$CONFIG"
expect 0 apply
expect_text "$OUT" '^~ defaults: rates.per-source 10000000 -> none$'
refused=$(reason rate-source)
greedy off $GREEDY4 2
wait "$LAB_PID"
equal 'without a rate' "$(reason rate-source)" "$refused"
equal 'a connection that is open' "$(ask_held held4) $(ask_held held6)" "$held4 $held6"

step 'by CPU'
change '{ per-cpu: 10 }'
greedy cpu $GREEDY4 4
wait "$LAB_PID"
read -r n t < <(opened cpu)
echo "$n connections in $t s at 10 a second on each of $(nproc) CPUs"
awk -v n="$n" -v t="$t" -v cpus="$(nproc)" 'BEGIN { exit !(n >= 8 * t && n <= 10 * cpus * (1 + t)) }' ||
	fail "by CPU: $n connections in $t s"
(($(reason rate-cpu) > 0)) || fail 'none was refused by CPU'
equal 'a connection that is open' "$(ask_held held4) $(ask_held held6)" "$held4 $held6"
expect 0 verify

step 'not by nft'
echo 'datapath: nft' >>"$CONFIG"
expect 1 apply
expect_text "$ERR" 'error: .*:[0-9]+: rates: datapath nft lets in any number of new flows'
expect 3 apply --dry-run --best-effort
expect_text "$ERR" 'warning: left out: .*rates: datapath nft'
