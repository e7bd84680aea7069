# Sleeps: {"sleep_ms": 250} gives {"slept_ms": 250} a quarter of a second later.
main() {
    sleep_ms=0
    case $1 in
        *'"sleep_ms":'[1-9]*)
            sleep_ms=${1#*'"sleep_ms":'}
            sleep_ms=${sleep_ms%%[!0-9]*}
            milliseconds=$((sleep_ms % 1000 + 1000))
            sleep "$((sleep_ms / 1000)).${milliseconds#1}"
            ;;
    esac
    printf '{"slept_ms":%d}\n' "$sleep_ms"
}
