#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# change.sh - nft and ebpf in turn: a change of the datapath under traffic, and killed; `auto`; and an apply of nft
# that is killed at every netlink call.
# hooks: nft
# limit: 600
# guest: full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

TABLE=meshlb_$LAB

lab_topology direct 2
lab_nginx r1 r2
declare -A REPLICAS=([$(lab_id r1)]=r1 [$(lab_id r2)]=r2)
write_config() { scheduler_services | lab_config; }
write_config >"$CONFIG"
v4=("${LAB_V4[@]}") v6=("${LAB_V6[@]}")
expect 0 apply

step 'to ebpf and back: connections of nft live on under ebpf, those of ebpf are reset under nft'
changes_to() { # and nothing stays on the other
	local there=ebpf
	change_to "$1"
	equal tables "$(nft_in list tables | grep -c "$TABLE" || true)" "$([[ $1 == nft ]] && echo 1 || echo 0)"
	[[ -e $PINS ]] || there=nft
	equal 'the instance' $there "$1"
}
# Somebody else's NAT, as on any host with Docker: without one the kernel takes its NAT away with our
# table, and with it what holds the connections together: also those of traffic, of both families.
nft_in 'add table inet theirs; add chain inet theirs nat { type nat hook postrouting priority 100; }; add rule inet theirs nat ip saddr 203.0.113.0/24 masquerade'
held=$(hold_open under_nft 4)
begin_traffic 8080
changes_to ebpf
end_traffic
equal 'the connection made under nft' "$(ask_held under_nft)" "$held"
hold_open under_ebpf 4 >/dev/null
changes_to nft
echo >"$LAB_DIR/under_ebpf.in"
lab_until 5 grep -qiE 'reset|error|closed' "$LAB_DIR/under_ebpf.out" || fail 'it was not reset'

step 'what was begun under nft ends when its backend is removed from ebpf, or that is brought down'
lab_spawn r1 "$E2E/udp_echo.py" serve 5300
lab_spawn r2 "$E2E/udp_echo.py" serve 5300
udp_by() { # DATAPATH: a service of $LAB_V4
	lab_service udp '*:5300/udp' 5300 | lab_config | sed "s/^datapath: .*/datapath: $1/"
}
tracked() { grep -cE "$1" <(lab_in node1 cat /proc/net/nf_conntrack) || true; }
to() { tracked "dst=$VIP4 .*dport=5300 .*src=$1 "; }
LAB_V6=()
udp_by nft >"$LAB_DIR/both.yaml"
udp_by ebpf >"$LAB_DIR/both-ebpf.yaml"
LAB_V4=("${v4[1]}")
udp_by nft >"$LAB_DIR/second.yaml"
udp_by ebpf >"$LAB_DIR/second-ebpf.yaml"
LAB_V4=("${v4[@]}") LAB_V6=("${v6[@]}")
expect 0 lab_meshlb apply -f "$LAB_DIR/both.yaml"
expect 0 lab_in node2 "$E2E/udp_echo.py" ask "$VIP4" 5300 4 8
expect 0 lab_meshlb apply -f "$LAB_DIR/both-ebpf.yaml"
equal 'what conntrack goes on with' "$(to "${v4[0]}") $(to "${v4[1]}")" '2 2'
expect 0 lab_meshlb apply -f "$LAB_DIR/second-ebpf.yaml"
equal 'and what, after the first was removed' "$(to "${v4[0]}") $(to "${v4[1]}")" '0 2'
expect 0 lab_meshlb down
equal 'and after down' "$(to "${v4[0]}") $(to "${v4[1]}")" '0 0'
expect 0 lab_meshlb apply -f "$LAB_DIR/both.yaml"
expect 0 lab_in node2 "$E2E/udp_echo.py" ask "$VIP4" 5300 4 8
expect 0 lab_meshlb apply -f "$LAB_DIR/second-ebpf.yaml"
equal 'the first is removed by the change itself' "$(to "${v4[0]}") $(to "${v4[1]}")" '0 2'
expect 0 lab_meshlb down

step 'what a backend has said before it was one is no answer of the service'
says() { # TO_PORT: the first one, by itself
	lab_in r1 python3 -c 'import socket, struct, sys
socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP).sendto(
	struct.pack("!HHHH", 5300, int(sys.argv[2]), 8, 0), (sys.argv[1], 0))' "$CLIENT4" "$1"
}
said() { tracked "src=${v4[0]} dst=$CLIENT4 sport=5300 dport=$1 "; }
says 7001
equal 'entries' "$(said 7001)" 1
expect 0 lab_meshlb apply -f "$LAB_DIR/second.yaml"
equal 'entries, of whom it has not' "$(said 7001)" 1
expect 0 lab_meshlb apply -f "$LAB_DIR/both.yaml"
equal 'entries' "$(said 7001)" 0
expect 0 lab_meshlb down
nft_in add rule inet theirs nat udp dport 7002 masquerade # of somebody who does so to all
says 7002
equal 'entries' "$(said 7002)" 1
expect 0 lab_meshlb apply -f "$LAB_DIR/both.yaml"
equal 'entries' "$(said 7002)" 0
nft_in delete table inet theirs

step 'who may not look at nft makes nothing beside it'
expect 1 lab_meshlb_without -net_admin apply -f "$LAB_DIR/both-ebpf.yaml"
expect_text "$ERR" 'Operation not permitted'
[[ ! -e $PINS ]] || fail "left behind: $PINS"
expect 0 apply

step 'killed while the datapath changes: somebody serves at every moment, and the next apply ends it'
cp "$CONFIG" "$LAB_DIR/nft.yaml"
sed 's/^datapath: .*/datapath: ebpf/' "$CONFIG" >"$LAB_DIR/ebpf.yaml"
both=0 turn=0 kills=$((${TEST_GUEST:-0} ? 5 : 12)) # there one takes half a minute
for to in ebpf nft; do
	from=$([[ $to == ebpf ]] && echo nft || echo ebpf)
	number=$(lab_in node1 strace -f -qq -e trace=bpf,sendto,sendmsg,unlinkat \
		"$MESHLB" --instance "$LAB" apply -f "$LAB_DIR/$to.yaml" 2>&1 >/dev/null |
		grep -cE '(bpf|sendto|sendmsg|unlinkat)\(')
	for n in $(seq 2 $((number / kills + 1)) "$number") "$number"; do
		lab_meshlb apply -f "$LAB_DIR/$from.yaml" >/dev/null
		lab_in node1 strace -f -qq -e trace=bpf,sendto,sendmsg,unlinkat \
			-e "inject=bpf,sendto,sendmsg,unlinkat:signal=KILL:when=$n" -o /dev/null \
			"$MESHLB" --instance "$LAB" apply -f "$LAB_DIR/$to.yaml" &>/dev/null || true
		[[ $(ask 4) && $(ask 6) ]] || fail "to $to, killed at call $n: nobody answers"
		# On with it, or back: nothing may stay on the other one.
		end=$to
		((turn++ % 2)) || end=$from
		if [[ -e $PINS ]] && nft_in list table inet "$TABLE" &>/dev/null; then
			both=$((both + 1))
			expect 3 lab_meshlb verify -f "$LAB_DIR/$end.yaml"
			expect_text "$OUT" 'an interrupted change of datapath has left (the|a part of the) instance there'
		fi
		lab_meshlb apply -f "$LAB_DIR/$end.yaml" >/dev/null
		expect 0 lab_meshlb verify -f "$LAB_DIR/$end.yaml"
		equal "to $to, killed at call $n" "$(lab_meshlb -j status | jq -r .datapath)" "$end"
		equal 'tables' "$(nft_in list tables | grep -c "$TABLE" || true)" "$([[ $end == nft ]] && echo 1 || echo 0)"
		[[ -e $PINS ]] && there=ebpf || there=nft
		equal 'pins' "$there" "$end"
	done
done
((both > 0)) || fail 'no kill came while both were there'
echo "$both kills while both were there"

step 'auto: without bpf() it is nft, and says why'
[[ ${TEST_GUEST:-0} != 1 ]] || take_away ip_vs # which it would rather have
sed 's/^datapath: .*/datapath: auto/' "$CONFIG" >"$LAB_DIR/auto.yaml"
lab_meshlb down >/dev/null
no_bpf() { lab_meshlb_without -bpf,-sys_admin "$@"; }
expect 0 no_bpf apply -f "$LAB_DIR/auto.yaml"
expect_text "$ERR" 'datapath nft: datapath "ebpf": .*Operation not permitted'
expect 0 no_bpf status
expect_text "$OUT" '^datapath auto: datapath "ebpf": .*Operation not permitted'
expect_alternation 4 4
expect 0 no_bpf probe
expect_text "$OUT" '^ebpf +datapath +no +.*Operation not permitted'
expect_text "$OUT" '^nft +datapath +yes'
expect 0 lab_meshlb probe
expect_text "$OUT" '^ebpf +datapath +yes'
expect_text "$OUT" '^ebpf +XDP programs +yes'
equal 'helpers' "$(grep -cE '^ebpf +(XDP|tc): helper bpf_[a-z_0-9]+ +yes' <<<"$OUT")" 9
expect_text "$OUT" '^interface +eth0: native XDP +[^ ]+ '
expect_text "$OUT" '^kernel +net/ipv4/ip_forward +yes'
expect 0 no_bpf down

step 'auto: without a bpffs that can be written to, too; all of it works, down as well'
read_only() {
	# shellcheck disable=SC2016
	lab_in node1 unshare -m sh -c 'mount -t bpf -o ro bpf /sys/fs/bpf && exec "$@"' - \
		"$MESHLB" --instance "$LAB" "$@"
}
expect 0 read_only apply -f "$LAB_DIR/auto.yaml"
expect_text "$ERR" 'datapath nft: datapath "ebpf": bpffs: Read-only file system'
expect_alternation 4 2
expect 0 read_only verify
expect 0 read_only probe
expect_text "$OUT" '^ebpf +bpffs +no +Read-only file system'
expect 0 read_only down
expect 0 read_only apply -f "$LAB_DIR/auto.yaml"
kernel_has_iterators && iterators=yes || iterators=no
equal 'iterators over maps' \
	"$(lab_meshlb -j probe | jq -r '.capabilities[] | select(.name == "iterators over maps").here')" "$iterators"
expect 1 no_bpf apply -f <(sed 's/^datapath: auto/datapath: ebpf/' "$LAB_DIR/auto.yaml")
expect_text "$ERR" 'datapath "ebpf": .*Operation not permitted'
expect_alternation 4 4
expect 0 lab_meshlb apply -f "$LAB_DIR/auto.yaml"
expect_text "$OUT" '^~ datapath nft -> ebpf$'
expect_alternation 4 4
lab_meshlb down >/dev/null

step 'verify during a change of datapath waits for its end; an interface that has gone is told'
lab_in node1 ip link add lost0 type veth peer name lost1
sed 's/^interfaces:/&\n  - { name: lost0 }/' "$CONFIG" >"$LAB_DIR/lost.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/lost.yaml"
for i in 1 2; do
	for config in ebpf lost; do
		lab_meshlb apply -q -f "$LAB_DIR/$config.yaml" >/dev/null 2>&1 &
		applies=$!
		while kill -0 $applies 2>/dev/null; do
			if lab_meshlb verify -f "$LAB_DIR/$config.yaml" 2>&1 | grep -E 'interrupted|is missing|not as the last'; then
				fail 'a change under way was told as an interrupted one'
			fi
		done
		wait $applies || fail "the apply of $config.yaml failed"
	done
done
lab_in node1 ip link delete lost0
expect 3 lab_meshlb verify -f "$LAB_DIR/lost.yaml"
expect_text "$OUT" 'interface "lost0": there is no such interface'
lab_meshlb down >/dev/null

step 'what a killed change of datapath has left of the other one, chains of iptables, is named and taken away'
expect 0 lab_meshlb apply -f "$LAB_DIR/ebpf.yaml"
lab_in node1 iptables-nft -P FORWARD DROP
lab_in node1 iptables-nft -N "MESHLB-$LAB"
expect 3 lab_meshlb verify -f "$LAB_DIR/ebpf.yaml"
equal 'what verify says' "$OUT" 'datapath nft: an interrupted change of datapath has left a part of the instance there'
expect_text "$(lab_in node1 iptables-nft -S)" "MESHLB-$LAB" # verify has changed nothing
expect 0 lab_meshlb apply -f "$LAB_DIR/ebpf.yaml"
equal 'what apply says' "$OUT" 'repaired: datapath nft: an interrupted change of datapath has left a part of the instance there'
expect 0 lab_meshlb verify -f "$LAB_DIR/ebpf.yaml"
equal 'rules of ours' "$(lab_in node1 iptables-nft -S | grep -c MESHLB || true)" 0
expect 0 lab_meshlb down

step 'killed when the old table has gone: what the move removes was forgotten before'
mkdir "$LAB_DIR/bin"
for name in ip{,6}tables-{nft,legacy}-{save,restore}; do
	cat >"$LAB_DIR/bin/$name" <<-KILL
		#!/bin/sh
		nft list table inet $TABLE >/dev/null 2>&1 ||
			for pid in \$PPID \$(cut -d ' ' -f 4 /proc/\$PPID/stat); do # by a shell
				! grep -qx meshlb /proc/\$pid/comm || kill -9 \$pid
			done
		exec $(command -v "$name") "\$@"
	KILL
	chmod +x "$LAB_DIR/bin/$name"
done
expect 0 lab_meshlb apply -f "$LAB_DIR/both.yaml"
expect 0 lab_in node2 "$E2E/udp_echo.py" ask "$VIP4" 5300 4 8
equal 'what conntrack goes on with' "$(to "${v4[0]}") $(to "${v4[1]}")" '2 2'
expect 137 env PATH="$LAB_DIR/bin:$PATH" nsenter --net="/run/netns/$LAB-node1" \
	"$MESHLB" --instance "$LAB" apply -f "$LAB_DIR/second-ebpf.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/second-ebpf.yaml"
expect_text "$OUT" '^repaired: datapath nft: an interrupted change of datapath'
equal 'what conntrack goes on with' "$(to "${v4[0]}") $(to "${v4[1]}")" '0 2'
expect 0 lab_meshlb down

step "somebody's rule leads to our chain: a change of datapath and down say what they leave, and take it when they can"
expect 0 apply
lab_in node1 iptables-nft -N ADMIN
lab_in node1 iptables-nft -A ADMIN -j "MESHLB-$LAB"
expect 4 lab_meshlb apply -f "$LAB_DIR/ebpf.yaml"
expect_text "$OUT" '^~ datapath nft -> ebpf$'
expect_text "$ERR" 'left undone: iptables-nft-restore'
expect 4 lab_meshlb down
expect_text "$ERR" 'iptables-nft-restore'
equal tables "$(nft_in list tables | grep -c "$TABLE" || true)" 0
lab_in node1 iptables-nft -F ADMIN
expect 0 lab_meshlb down
equal 'rules of ours' "$(lab_in node1 iptables-nft -S | grep -c MESHLB || true)" 0
nft_in delete table ip filter

step 'killed at every netlink call of a change: before or after, and the next apply repairs'
apply >/dev/null
LAB_V4=("${v4[1]}") LAB_V6=("${v6[1]}")
write_config >"$LAB_DIR/after.yaml"
seen='' undone=0 before=$(served_by 8083) # a hash: the same each time
for call in sendto sendmsg; do
	lab_in node1 strace -f -qq -e trace=$call -o "$LAB_DIR/trace" \
		"$MESHLB" --instance "$LAB" apply -f "$LAB_DIR/after.yaml" >/dev/null
	number=$(grep -c "$call(" "$LAB_DIR/trace" || true)
	# Without --full some twenty, from a random start, and the last.
	step=$((${TEST_FULL:-0} ? 1 : number / 20 + 1))
	for n in $(seq $((1 + RANDOM % step)) $step "$number") "$number"; do
		apply >/dev/null
		ask 4 >/dev/null && ask 4 >/dev/null # one of these the change forgets
		status=0
		lab_in node1 strace -f -qq -e trace=$call -e "inject=$call:signal=KILL:when=$n" -o /dev/null \
			"$MESHLB" --instance "$LAB" apply -f "$LAB_DIR/after.yaml" >/dev/null 2>&1 || status=$?
		[[ $status != 0 ]] || break # how many calls there are depends on the connections
		equal "$call $n" "$status" 137
		seen+=" $(served_by 8083)"
		# What it is to forget stands among the records, those of 1000000000 and above.
		# (Not by grep -q: nft, which would go on to write, is slow on an emulated processor.)
		if grep -q '0x3b9aca.. \. ' <<<"$(nft_in list set inet "$TABLE" model)"; then
			undone=$((undone + 1))
			expect 3 lab_meshlb verify -f "$LAB_DIR/after.yaml"
			expect_text "$OUT" 'an earlier apply was interrupted: connections to backends that it has removed may live on'
		fi
		lab_meshlb apply -f "$LAB_DIR/after.yaml" >/dev/null
		expect 0 lab_meshlb verify -f "$LAB_DIR/after.yaml"
		equal "after repair ($call $n)" "$(served_by 8080)" r2
		equal 'connections to the removed backend' \
			"$(lab_in node1 cat /proc/net/nf_conntrack 2>/dev/null | grep -c "src=${v4[0]} " || true)" 0
	done
	apply >/dev/null
done
echo "of $number calls killed, seen:$seen; $undone before connections were forgotten"
((undone > 0)) || fail 'none was'
[[ $seen == *" $before"*" r2"* ]] || fail "not first as before ($before) and then as after (r2)"
for served in $seen; do
	[[ $served == "$before" || $served == r2 ]] || fail "neither before ($before) nor after (r2): $served"
done
expect 0 lab_meshlb down
equal 'tables left' "$(nft_in list tables)" ''
