#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# errors.sh - exit codes, and what is refused: each by a message that names it, with nothing
# changed in the kernel.
# guest: full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
lab_nginx r1 r2

step 'usage: 2'
expect 2 lab_meshlb
expect 2 lab_meshlb aply
expect_text "$ERR" 'aply'
expect_text "$ERR" 'apply'
expect 2 lab_meshlb apply --frobnicate
expect 2 lab_meshlb service show
expect 2 "$MESHLB" --instance ../evil status
expect 2 lab_meshlb apply -f "$CONFIG" --confirm-timeout soon
expect 0 lab_meshlb --help
expect 0 lab_meshlb apply --help
expect 0 lab_meshlb version
version=$OUT
for option in --version -V; do
	expect 0 lab_meshlb $option
	equal "$option" "$OUT" "$version"
done
for command in status 'service ls' down export; do # they read no config
	# shellcheck disable=SC2086
	expect 2 lab_meshlb $command -f "$CONFIG"
	expect_text "$ERR" 'takes no --file'
done
not_taken() { # OPTION COMMAND...: the option is named that was given, none that goes with it
	expect 2 lab_meshlb "${@:2}"
	expect_text "$ERR" "takes no $1\$"
}
not_taken --client conn gc --client 192.0.2.2
not_taken --affinity conn gc --affinity
not_taken --timeout backend undrain --timeout 5s vote 10.0.1.2:80
not_taken --watch conn ls -w
for weight in 65536 1x -1 ''; do
	expect 2 lab_meshlb backend weight vote 10.0.1.2:80 -- "$weight"
	expect_text "$ERR" "\"$weight\": write a number from 0 to 65535"
done
expect 2 lab_meshlb stats --watch=0.0

step 'no instance, no file: 1'
for command in status verify export stats 'conn ls' 'service ls' confirm; do
	# shellcheck disable=SC2086
	expect 1 lab_meshlb $command
	expect_text "$ERR" "$LAB"
done
expect 1 lab_meshlb check -f "$LAB_DIR/nothing.yaml"
expect_text "$ERR" "nothing.yaml.*No such file"

step 'the host is not ready'
lab_service vote '*:8080' 80 | lab_config >"$CONFIG"
refused() { # PATTERN...: apply fails, names it, and leaves no instance and no difference
	local pattern before=$state
	expect 1 apply
	for pattern in "$@"; do
		expect_text "$ERR" "$pattern"
	done
	state=$(lab_meshlb export 2>/dev/null) || state=none
	equal 'the state after a refused apply' "$state" "$before"
	head -n 3 <<<"$ERR"
}
state=none

warned() { # PATTERN [OPTION...]: applied, with a warning
	expect 0 apply "${@:2}"
	expect_text "$ERR" "$1"
	head -n 3 <<<"$ERR"
	lab_meshlb down
}
lab_sysctl node1 net.ipv4.ip_forward=0
warned 'net.ipv4.ip_forward=1'
lab_sysctl node1 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=0
warned 'net.ipv6.conf.all.forwarding=1'
lab_sysctl node1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.r2.forwarding=0
warned 'net.ipv4.conf.r2.forwarding=1'
lab_sysctl node1 net.ipv4.conf.r2.forwarding=1

good=$(<"$CONFIG")
sed -i '/name: r2/d' "$CONFIG"
warned 'meshlb.yaml:[0-9]+: .*10\.0\.2\.2:80.*"r2".*interfaces'
echo "$good" >"$CONFIG"
sed -i 's/name: r2/name: nic7/' "$CONFIG"
refused 'meshlb.yaml:4: .*"nic7"'

all_refuse() { # PATTERN: check, a dry run and apply say the same
	refused "$1"
	for command in check 'apply --dry-run'; do
		# shellcheck disable=SC2086
		expect 1 lab_meshlb $command -f "$CONFIG"
		expect_text "$ERR" "$1"
	done
}
edit() { # SED_SCRIPT: the good config, changed
	echo "$good" | sed "$1" >"$CONFIG"
}
edit 's/connections: 65536/connections: 500000000/'
all_refuse 'meshlb.yaml:[0-9]+: limits.connections: "[0-9]+": takes [0-9.]+ [GT]iB of .*; this host has [0-9.]+ [GT]iB: lower it$'
lab_in node1 ip link add br9 type bridge
# With `auto` another datapath would take it: best_effort.sh.
edit 's/name: r2, hook: .*/name: br9, hook: xdp }/; 1s/^/datapath: ebpf\n/'
! kernel_tells_xdp || all_refuse 'meshlb.yaml:5: hook: "xdp": .*"br9" has no native XDP'
lab_in node1 ip link del br9
edit 's/hook: tc/hook: xdp/'
lab_in node1 ip link set r1 xdp obj "$BUILD/tests/e2e/pass.bpf.o" sec xdp
all_refuse 'meshlb.yaml:3: hook: "xdp": XDP program "[a-z_]+" \(id [0-9]+\) is on interface "r1"'
expect 0 lab_meshlb check --force -f "$CONFIG"
lab_in node1 ip link set r1 xdp off
expect 0 apply
expect 0 lab_meshlb check -f "$CONFIG" # the program is ours
lab_meshlb down
echo "$good" >"$CONFIG"

step 'another instance'
readonly OTHER=$LAB.other
LAB_INSTANCES+=("$OTHER")
expect 0 lab_in node1 "$MESHLB" --instance "$OTHER" apply -f "$CONFIG"
if kernel_has_tcx; then
	expect 0 apply
else # clsact: one filter of ours an interface
	expect 1 apply
	expect_text "$ERR" 'interface "eth0": tc program "meshlb_tc" \(id [0-9]+\) has handle 1'
fi
expect 0 lab_in node1 "$MESHLB" instance ls
! kernel_has_tcx || expect_text "$OUT" "^$LAB +1 +eth0 r1 r2 +ok"
expect_text "$OUT" "^$OTHER +1 +eth0 r1 r2 +ok"
expect 0 lab_in node2 "$MESHLB" -j instance ls
equal 'instances in JSON' "$(jq -c ".instances[] | select(.name == \"$OTHER\") |
	[.state, .services]" <<<"$OUT")" '["of another network namespace",0]'
expect 0 lab_in node1 "$MESHLB" --instance "$OTHER" down
! kernel_has_tcx || lab_meshlb down
echo "$good" >"$CONFIG"

step 'a local program on a wildcard port: refused without --force'
lab_spawn node1 "$E2E/udp_echo.py" serve 5000
lab_until 5 lab_listening node1 5000 udp
lab_service echo '*:5000/udp' 5000 | lab_config >"$CONFIG"
refused '5000' '--force'
expect 0 apply --force
sed 's/5000.udp/5001\/udp/' "$CONFIG" >"$LAB_DIR/other.yaml"
lab_meshlb apply -f "$LAB_DIR/other.yaml"
expect 3 lab_meshlb verify -f "$CONFIG" # which apply would refuse
expect_text "$OUT" 'listen: "\*:5000/udp": a local program listens there'
lab_meshlb down

step 'a local program in a family of which the service has no backend: it keeps its clients'
lab_spawn node1 python3 -c 'import socket, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", 5002)); s.listen(); time.sleep(600)'
lab_until 5 lab_listening node1 5002
both=("${LAB_V4[@]}")
LAB_V4=()
lab_service six '*:5002' 80 | lab_config >"$CONFIG"
expect 0 apply
[[ $(ask 6 node1:5002) ]] || fail 'no replica answers'
lab_in node2 python3 -c "import socket; socket.create_connection(('$VIP4', 5002), 2)" ||
	fail 'the local program is not reached'
LAB_V4=("${both[@]}")
lab_service six '*:5002' 80 | lab_config >"$LAB_DIR/other.yaml"
expect 1 lab_meshlb apply -f "$LAB_DIR/other.yaml" # it would lose them by its first backend there
expect_text "$ERR" 'listen: "\*:5002/tcp": a local program listens there'
lab_meshlb down

step 'a config that is wrong, over a running instance'
lab_service vote '*:8080' 80 | lab_config >"$CONFIG"
expect 0 apply
state=$(lab_meshlb export)
good=$(<"$CONFIG")
wrong() { # SED_SCRIPT PATTERN
	edit "$1"
	refused "meshlb.yaml:[0-9]+: .*$2"
	expect 1 lab_meshlb check -f "$CONFIG"
	expect_text "$ERR" "meshlb.yaml:[0-9]+: .*$2"
}
wrong 's/10.0.1.2:80/10.0.1.300:80/' '"10.0.1.300:80"'
wrong 's/10.0.1.2:80/10.0.1.2:0/' '"10.0.1.2:0"'
wrong 's/scheduler: rr/scheduler: rrr/' '"rrr"'
wrong 's/scheduler:/schedular:/' '"?schedular"?'
wrong 's/hook: tc/hook: xpd/' '"xpd"'
wrong 's/10.0.2.2:80" }/10.0.2.2:80", weight: 65536 }/' '"?65536"?'
wrong 's/10.0.2.2:80/10.0.1.2:80/' '10.0.1.2:80'
wrong 's/\*:8080/192.0.2.1:8080", "192.0.2.1:8080/' '192.0.2.1:8080'
edit '/- { address: "\[fd/d; s/\*:8080/[2001:db8::1]:8080/'
refused 'meshlb.yaml:[0-9]+: .*\[2001:db8::1\]:8080'
head -c 1M /dev/urandom >"$CONFIG"
refused 'meshlb.yaml'
{
	echo 'a: &a [x, x, x, x, x, x, x, x, x]'
	before=a
	for name in b c d e f g h i; do
		echo "$name: &$name [$(printf "*$before, %.0s" 1 2 3 4 5 6 7 8)*$before]"
		before=$name
	done
} >"$CONFIG"
refused 'meshlb.yaml:[0-9]+'
echo "$good" >"$CONFIG"
expect 0 apply --dry-run

step 'what programs are told of a change'
edit 's/weight: 1//; s/scheduler: rr/scheduler: maglev/; s/hook: tc/hook: auto/'
expect 3 lab_meshlb -j apply --dry-run -f "$CONFIG"
equal 'the change of the service' "$(jq -c '.changes[] | select(.object == "service") | [.verb, .name,
	.from.scheduler, .to.scheduler, (.to.backends | length), .to.listen]' <<<"$OUT")" \
	'["changed","vote","rr","maglev",4,["*:8080/tcp"]]'
equal 'the changes of the interfaces' "$(jq -c '[.changes[] | select(.object == "interface") |
	[.name, .from.hook, .to.hook]]' <<<"$OUT")" \
	'[["eth0","tc","auto"],["r1","tc","auto"],["r2","tc","auto"]]'
echo "$good" >"$CONFIG"

step 'somebody else has the lock'
flock "$PINS" sleep 3 &
is_locked() { ! flock -n "$PINS" true; }
lab_until 2 is_locked
expect 0 apply
expect_text "$ERR" "instance \"$LAB\": another meshlb is changing it: waiting for it"
wait $!

step 'rates of half a second'
timeout 3 nsenter --net="/run/netns/$LAB-node1" -- "$MESHLB" --instance "$LAB" -j stats --watch=0.5 \
	>"$LAB_DIR/rates" || true
equal 'half a second' "$(jq -s '.[0].seconds * 10 | round' "$LAB_DIR/rates")" 5

step 'limits are fixed when the instance is made'
edit 's/connections: 65536/connections: 131072/'
refused 'connections' '65536|131072'

step 'limits that are too small: refused whole'
lab_meshlb down
state=none
edit 's/services: 16/services: 1/'
lab_service second '*:8090' 80 >>"$CONFIG"
refused 'services'

step 'a foreign namespace'
sed 's/services: 1,/services: 16,/' "$CONFIG" >"$LAB_DIR/ok.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/ok.yaml"
expect 1 lab_in node2 "$MESHLB" --instance "$LAB" status
expect_text "$ERR" 'namespace'

step 'who may not look at programs is told so, and of no difference'
for caps in -sys_admin -perfmon,-sys_admin -all; do
	expect 1 lab_meshlb_without $caps verify -f "$LAB_DIR/ok.yaml"
	expect_text "$ERR" 'error: .*looking at BPF programs, .*CAP_SYS_ADMIN: Operation not permitted'
	equal 'told as differences' "$OUT" ''
done
expect 0 lab_meshlb verify -f "$LAB_DIR/ok.yaml"
expect 1 lab_meshlb_without -net_admin instance ls
expect_text "$ERR" 'Operation not permitted'
expect 0 lab_meshlb_without -all probe
equal 'told beside the table' "$ERR" ''
equal 'what is not here, without a reason' \
	"$(lab_meshlb -j probe | jq -c '[.capabilities[] | select(.here == "no" and .why == "").name]')" '[]'
expect 1 lab_meshlb_without -all --instance "$OTHER" apply -f "$LAB_DIR/ok.yaml"
expect_text "$ERR" 'datapath "nft": asking nftables: Operation not permitted'
equal 'lines but of meshlb' "$(grep -vc '^meshlb: ' <<<"$ERR" || true)" 0

step 'no room for what to go back to: said, and nothing is changed'
mkdir -p /run/meshlb
sed 's/8080/8099/' "$LAB_DIR/ok.yaml" >"$LAB_DIR/other.yaml"
# shellcheck disable=SC2016
expect 1 lab_in node1 unshare --mount sh -c 'mount -t tmpfs -o size=4k tmpfs /run/meshlb
	head -c 4096 /dev/zero >/run/meshlb/full
	exec "$@"' - "$MESHLB" --instance "$LAB" apply -f "$LAB_DIR/other.yaml" --confirm-timeout 1m
expect_text "$ERR" 'error: writing "/run/meshlb/.*rollback.yaml": No space left on device'
expect 0 lab_meshlb verify -f "$LAB_DIR/ok.yaml"

step 'changes that have no room beside what is in force: refused whole'
many() { # THIRD_OCTET: a service of 200 backends
	LAB_V4=() LAB_V6=()
	for ((i = 1; i <= 200; i++)); do
		LAB_V4+=("10.0.$1.$i")
	done
	lab_service many '0.0.0.0:8080' 80
}
expect 0 lab_meshlb down
many 1 | lab_config >"$CONFIG"
expect 0 apply
state=$(lab_meshlb -j status | jq -S 'del(.usage, .hooks)')
many 2 | lab_config >"$LAB_DIR/large.yaml"
expect 1 lab_meshlb apply -f "$LAB_DIR/large.yaml"
expect_text "$ERR" 'limits\.backends: "256": full; service "many" needs 1 more .*old and new'
maglevs() { # THIRD_OCTET COUNT: beside it, services with tables of 65,537 slots
	many 1
	for ((n = 1; n <= $2; n++)); do
		LAB_V4=("10.0.$1.$n")
		lab_service "m$n" "0.0.0.0:909$n" 80 maglev
	done
}
maglevs 1 8 | lab_config >"$LAB_DIR/large.yaml"
for command in check apply 'apply --dry-run'; do
	# shellcheck disable=SC2086
	expect 1 lab_meshlb $command -f "$LAB_DIR/large.yaml"
	expect_text "$ERR" 'large\.yaml:[0-9]+: service: "m8": .*limits\.ring-slots, 524288.* 524768 at least'
done
equal 'the instance after the refusals' "$(lab_meshlb -j status | jq -S 'del(.usage, .hooks)')" "$state"
maglevs 1 7 | lab_config >"$CONFIG"
expect 0 apply
state=$(lab_meshlb -j status | jq -S 'del(.usage, .hooks)')
maglevs 2 7 | lab_config >"$LAB_DIR/large.yaml"
expect 1 lab_meshlb apply -f "$LAB_DIR/large.yaml"
expect_text "$ERR" 'limits\.ring-slots: "524288": full; service "m[1-7]" needs 65537 more'
equal 'the instance after the refusals' "$(lab_meshlb -j status | jq -S 'del(.usage, .hooks)')" "$state"
expect 0 verify
