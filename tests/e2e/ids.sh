#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# ids.sh - backends are removed and added in a loop, so that their ids are given away again and again,
# under hundreds of connections that talk: none is ever answered by another backend, those of a
# backend that stays do not break, and no backend gets a packet of a connection that it does not know.
# hooks: xdp
# full: tc
# limit: 300
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

ROUNDS=60
[[ ${TEST_FULL:-0} != 1 ]] || ROUNDS=300
readonly PORTS=6 NUMBER=100 # ports of a service at a replica; connections of a client
readonly -A LISTEN=([reset]=8080 [rehash]=8081) BASE=([reset]=9000 [rehash]=9100)
readonly CLIENTS=(reset4 reset6 rehash4 rehash6)

lab_topology direct 3

# By each address of the replica r3, which stays, the first port; of r1 and r2 three of six, from the
# k-th on. Its on-remove is the service's name.
service() { # NAME K
	local i port
	printf '  - name: %s\n    listen: ["*:%s"]\n    on-remove: %s\n    backends:\n' \
		"$1" "${LISTEN[$1]}" "$1"
	at "$1" 3 0
	for i in 1 2; do
		for port in $2 $(($2 + 1)) $(($2 + 2)); do
			at "$1" $i $((port % PORTS))
		done
	done
}
at() { # SERVICE REPLICA PORT: by IPv4 and by IPv6
	printf '      - { address: "%s:%s" }\n' "${LAB_V4[$2 - 1]}" $((BASE[$1] + $3)) \
		"[${LAB_V6[$2 - 1]}]" $((BASE[$1] + $3))
}
# Few ids: all have been given away after some rounds.
become() { # K
	{ service reset "$1" && service rehash "$1"; } | lab_config |
		sed 's/backends: 256/backends: 32/' >"$CONFIG"
	apply >/dev/null
}

# How often ids were given away that had been others' before; of the one most often.
reuses() {
	bpftool -j map dump pinned "$PINS/lb_backends" |
		jq -r '[.[].formatted.value.reuse] | "\(add) \(max)"'
}

# Resets that the replicas themselves have sent: of what they do not know.
resets_of() { # SERVICE
	local i
	for i in 1 2 3; do
		lab_in r$i nft -j list counter inet ids "by_$1" | jq '.nftables[1].counter.packets'
	done | jq -s add
}

last_of() { # CLIENT WORD: the number behind it
	grep '^connections' "$LAB_DIR/$1.ids" | grep -oE "$2 [0-9]+" | cut -d' ' -f2
}

serve() { # REPLICA [--lies]
	local port
	local -a ports=()
	for port in $(seq 0 $((PORTS - 1))); do
		ports+=($((BASE[reset] + port)) $((BASE[rehash] + port)))
	done
	lab_spawn "$1" "$E2E/ids.py" serve "$@" "${ports[@]}" >"$LAB_DIR/$1.server" 2>&1
	lab_until 10 lab_listening "$1" $((BASE[rehash] + PORTS - 1))
}
for i in 1 2 3; do
	serve r$i
	lab_in r$i nft -f - <<-NFT
		table inet ids {
			counter by_reset { }
			counter by_rehash { }
			chain out {
				type filter hook output priority 0;
				tcp sport 9000-9099 tcp flags & rst == rst counter name by_reset
				tcp sport 9100-9199 tcp flags & rst == rst counter name by_rehash
			}
		}
	NFT
done
declare -A pid=()
first=2000 # port of the next client
begin() { # CLIENT ADDRESS PORT
	lab_spawn node2 "$E2E/ids.py" hold "$2" "$3" $NUMBER $first >"$LAB_DIR/$1.ids" 2>&1
	((first += 15000))
	pid[$1]=$LAB_PID
	lab_until 20 grep -q open "$LAB_DIR/$1.ids" || fail "$1: $(<"$LAB_DIR/$1.ids")"
}
end() { # CLIENT
	kill "${pid[$1]}"
	wait "${pid[$1]}" || fail "$1: $(tail "$LAB_DIR/$1.ids")"
	echo "$1: $(tail -n 1 "$LAB_DIR/$1.ids")"
}

step "$ROUNDS rounds of removing and adding"
become 0
for name in reset rehash; do
	begin ${name}4 $VIP4 "${LISTEN[$name]}"
	begin ${name}6 $VIP6 "${LISTEN[$name]}"
done
k=0
for ((round = 0; round < ROUNDS; round++)); do
	((k += round % 3 + 1)) # one, two or all three of the ports at r1 and r2 are others
	become $((k % PORTS))
	sleep 0.05
done
for name in "${CLIENTS[@]}"; do end "$name"; done
expect 0 verify

step 'no answer by another, none missing; only connections of removed backends have broken'
for name in "${CLIENTS[@]}"; do
	equal "$name: wrong" "$(last_of "$name" wrong)" 0
	equal "$name: silent" "$(last_of "$name" silent) $(grep '^silent' "$LAB_DIR/$name.ids" || true)" '0 '
	equal "$name: broken connections of the backend that stays" \
		"$(grep '^broken r3' "$LAB_DIR/$name.ids" || true)" ''
	(($(last_of "$name" connections) >= 2 * NUMBER && $(last_of "$name" answered) >= 1000 &&
		$(last_of "$name" broken) >= NUMBER)) || fail "$name: too few"
done
for i in 1 2 3; do
	equal "what r$i got that was not for it" "$(<"$LAB_DIR/r$i.server")" ''
done

step 'ids were given away again, more often than entries can count'
read -r all most < <(reuses)
echo "$all times, one of them $most times"
((all >= 500 && most >= 9)) || fail 'too seldom'
lab_meshlb -j stats | jq -c '.reasons[] | select(.xdp + .tc > 0)'
(($(reason backend-gone-reset) >= NUMBER)) || fail 'too few connections met a removed backend'

step 'on-remove: reset: no backend was asked about what it does not know; rehash: they were'
equal 'resets by backends' "$(resets_of reset)" 0
(($(resets_of rehash) >= NUMBER)) || fail "rehash: only $(resets_of rehash) resets by backends"

step 'control: one that answers in the name of another is seen'
lab_ns liar
lab_link node2 liar liar eth0
lab_addr node2 liar 10.0.9.1/24
lab_addr liar eth0 10.0.9.2/24
serve liar --lies
begin control 10.0.9.2 9000
heard() { grep -q "^wrong" "$LAB_DIR/control.ids"; }
lab_until 20 heard
end control
(($(last_of control wrong) > 0)) || fail 'it was not'
