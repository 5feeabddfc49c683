#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# ports.sh - a client that uses its port again never waits: whoever has closed the connection before,
# or reset it, whatever has become of its backend, the first SYN is answered.
# hooks: tc
# full: xdp
# guest: full
# limit: 300
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

readonly TIMES=20
lab_topology direct 2
lab_sysctl node2 net.ipv4.tcp_max_tw_buckets=0
for replica in r1 r2; do
	lab_spawn $replica "$E2E/ports.py" serve $replica 9000
	lab_until 10 lab_listening $replica 9000
done
lab_in node2 nft -f - <<-NFT
	table inet ports {
		counter syn { }
		counter syn_ack { }
		chain out {
			type filter hook output priority 0;
			tcp dport 8080 tcp flags & (syn | ack) == syn counter name syn
		}
		chain in {
			type filter hook input priority 0;
			tcp sport 8080 tcp flags & (syn | ack) == syn | ack counter name syn_ack
		}
	}
NFT
config() { # REPLICA...
	local -a v4=("${LAB_V4[@]}") v6=("${LAB_V6[@]}") LAB_V4=() LAB_V6=()
	local n
	for n; do
		LAB_V4+=("${v4[n - 1]}")
		LAB_V6+=("${v6[n - 1]}")
	done
	lab_service vote '*:8080' 9000 | lab_config
}
for replicas in '1 2' 1 2; do
	# shellcheck disable=SC2086
	config $replicas >"$LAB_DIR/$replicas.yaml"
done
change() { # REPLICAS
	expect 0 lab_meshlb apply -f "$LAB_DIR/$1.yaml"
}
change '1 2'

counted() { # NAME
	lab_in node2 nft -j list counter inet ports "$1" | jq '.nftables[1].counter.packets'
}
# How many connections of each family and way are answered by whom. Not by a clock: a SYN that was not
# answered came again, so that there are more of them than answers.
connect() { # SOURCE_PORT TIMES each|mixed
	expect 0 lab_in node2 "$E2E/ports.py" ask 8080 "$@" $VIP4 $VIP6
	equal 'answers to SYNs' "$(counted syn_ack)" "$(counted syn)"
	WHO=$(awk -v mixed="$3" 'mixed == "mixed" { $2 = "any" } { print }' <<<"$OUT" | sort | uniq -c |
		awk '{ print $4, $1 }')
}
all_by() { # WHAT "REPLICA NUMBER"...: the same for each family and way
	equal "$1: who answers" "$(sort -u <<<"$WHO" | paste -sd,)" "$(printf '%s\n' "${@:2}" | paste -sd,)"
}
drain() { # drain|undrain REPLICA
	lab_meshlb -q backend "$1" vote "${LAB_V4[$2 - 1]}:9000"
	lab_meshlb -q backend "$1" vote "[${LAB_V6[$2 - 1]}]:9000"
}

step "$TIMES connections from a port, one after another: both replicas take turns"
connect 30000 $TIMES each
all_by 'in turns' "r1 $((TIMES / 2))" "r2 $((TIMES / 2))"

step 'a port whose connections end each time in another way'
connect 30010 $TIMES mixed
equal 'mixed: answers' "$(awk '{ n += $2 } END { print n }' <<<"$WHO")" $((TIMES * 5 * 2))

step 'to one and the same backend, whose own TIME_WAIT it meets'
drain drain 2
connect 30020 $TIMES each
all_by 'one' "r1 $TIMES"

step 'its backend is drained in between: another one takes it at once'
for now in 2 1 2; do
	drain undrain $now
	drain drain $((3 - now))
	connect 30020 1 each
	all_by "r$((3 - now)) is drained" "r$now 1"
done
drain undrain 1

step 'its backend is removed in between'
for now in 1 2 1; do
	change $now
	connect 30020 1 each
	all_by "r$((3 - now)) is removed" "r$now 1"
done
change '1 2'
equal 'drops' "$(lab_meshlb -j stats | jq -c '[.reasons[] | select(.drop and .xdp + .tc > 0) | .name]')" '[]'
again=$(lab_in node2 nstat -asz TcpExtTCPSynRetrans | awk '/SynRetrans/ { print $2 }')
echo "SYNs: $(counted syn), of them sent again: $again"

step 'its backend has forgotten it, and is drained: another one takes it, with its second SYN'
asked() { # HOW: who answers from one port, a line for each family
	lab_in node2 "$E2E/ports.py" ask 8080 30040 1 "$1" $VIP4 $VIP6 | awk '{ print $3 }' | paste -sd' '
}
forgotten() { [[ ! $(lab_in "$1" ss -tnH sport 9000) ]]; }
states() { lab_meshlb -j conn ls | jq -r '[.connections[] | select(.client | endswith(":30040")) | .state] | join(" ")'; }
drain drain 2
equal 'who answers' "$(asked forget)" 'r1 r1'
lab_until 5 forgotten r1
equal 'states' "$(states)" 'established established'
drain undrain 2
equal 'it takes new ones itself' "$(asked forget)" 'r1 r1'
lab_until 5 forgotten r1
drain drain 1
before=$(reason backend-drained-reset)
equal 'who answers instead' "$(asked client)" 'r2 r2'
equal 'connections that r1 opened' "$(reason backend-drained-reset)" $((before + 2))
lab_until 5 forgotten r1
drain undrain 1

step 'control: a SYN that is swallowed is seen'
for replica in r1 r2; do
	lab_in $replica nft -f - <<-NFT
		table inet ports {
			chain in {
				type filter hook input priority 0;
				tcp dport 9000 tcp flags & (syn | ack) == syn drop
			}
		}
	NFT
done
before=$(counted syn)
sent() { (($(counted syn) > before)); }
lab_spawn node2 "$E2E/ports.py" ask 8080 30030 1 mixed $VIP4
client=$LAB_PID
lab_until 5 sent
for replica in r1 r2; do
	lab_in $replica nft delete table inet ports
done
wait "$client"
(($(counted syn) > $(counted syn_ack))) || fail 'it was not'
