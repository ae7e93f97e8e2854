#!/usr/bin/env bash
# One Kafka broker (KRaft, no ZooKeeper) for tests and for a laptop, without a container:
#   scripts/kafka.sh fetch                 Kafka's artefacts into build/kafka (needs Maven once)
#   scripts/kafka.sh start DIR [PORT]      a broker on 127.0.0.1:PORT (9092) that keeps its logs in DIR
#   scripts/kafka.sh stop DIR              end it, as a shutdown would
# KAFKA_CLUSTER_ID names a broker that begins anew as the one of a back-up was named.
set -euo pipefail
[ "${1:-}" != --help ] || exec sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" # the lines above
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root jars=$root/build/kafka/jars
readonly usage="usage: scripts/kafka.sh fetch | start DIR [PORT] | stop DIR"
readonly ready_s_max=60 stop_s_max=30

fail() {
  echo "kafka: $*" >&2
  exit 1
}

fetch() {
  mkdir -p "${jars%/*}"
  (
    flock 9 # two at a time would undo each other's work
    want=$(sha256sum "$root/scripts/kafka/pom.xml" | cut -d' ' -f1)
    [ "$(cat "$jars/stamp" 2>/dev/null)" = "$want" ] && exit
    command -v mvn >/dev/null || fail "Maven is needed once (on Debian: apt-get install maven)"
    rm -rf "$jars"
    mvn --quiet --batch-mode --file "$root/scripts/kafka/pom.xml" dependency:copy-dependencies \
      -DoutputDirectory="$jars" >/dev/null
    echo "$want" >"$jars/stamp"
  ) 9>"${jars%/*}/lock"
}

properties() { # DIR PORT
  cat <<END
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$(($2 + 1))
listeners=PLAINTEXT://127.0.0.1:$2,CONTROLLER://127.0.0.1:$(($2 + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$2
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=$1/logs
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
END
}

java_kafka() { java -Xms128m -Xmx512m -XX:+UseG1GC -cp "$jars/*" "$@"; }

# What StorageTool's random-uuid gives, without a Java machine of its own: 16 bytes in the URL's base64, which must not
# begin with a dash.
random_id() { head -c 16 /dev/urandom | base64 | tr '+/' '__' | tr -d '='; }

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

start() { # DIR [PORT]
  local dir port=${2:-9092} pid id
  fetch
  mkdir -p "$1"
  dir=$(cd "$1" && pwd)
  answers "$port" && fail "port $port is taken"
  properties "$dir" "$port" >"$dir/server.properties"
  if [ ! -f "$dir/logs/meta.properties" ]; then
    id=${KAFKA_CLUSTER_ID:-$(random_id)}
    java_kafka kafka.tools.StorageTool format --standalone --config "$dir/server.properties" \
      --cluster-id "$id" >"$dir/format.log" 2>&1 ||
      fail "the log folder cannot be formatted: $(tail -n 1 "$dir/format.log")"
  fi
  # A session of its own: an interrupt of the terminal is for what uses the broker.
  java_kafka() { exec setsid java -Xms128m -Xmx512m -XX:+UseG1GC -cp "$jars/*" "$@"; }
  java_kafka kafka.Kafka "$dir/server.properties" </dev/null >>"$dir/broker.log" 2>&1 &
  pid=$!
  echo "$pid" >"$dir/pid"
  for _ in $(seq $((ready_s_max * 10))); do
    kill -0 "$pid" 2>/dev/null || fail "the broker ended: $(tail -n 3 "$dir/broker.log")"
    answers "$port" && echo "127.0.0.1:$port" && return
    sleep 0.1
  done
  fail "the broker did not answer within $ready_s_max s: $(tail -n 3 "$dir/broker.log")"
}

stop() { # DIR
  local pid
  pid=$(cat "$1/pid" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || true
  for _ in $(seq $((stop_s_max * 10))); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null || true
  rm -f "$1/pid"
}

case ${1:-} in
  fetch) fetch ;;
  start) start "${2:?$usage}" "${3:-}" ;;
  stop) stop "${2:?$usage}" ;;
  *) fail "$usage" ;;
esac
