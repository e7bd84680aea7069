#!/bin/sh
# Runtime shim for functions written in POSIX sh.
#
# Speaks the OpenWhisk action runtime protocol (POST /init, then any number of POST /run) as HTTP/1.1
# over one connection that, as under inetd, is already open on descriptor 0 when the shim starts.
# Requests follow one another, nothing is pipelined, and end of file means: exit.
#
# The code is loaded into this very shell, so that a run parses nothing and starts three processes only:
# head (the body), awk (its JSON) and the subshell that keeps the function away from the shim.
# For the same reason every name here begins with shim_: all others belong to the code.

exec 9<&0 </dev/null

shim_newline='
'
shim_sentinel=XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX
shim_default_ifs=$IFS
shim_ready='' shim_flags=''

# JSON body in, shell assignments out, for eval. What makes that safe: but for names that is_name()
# has seen, the sender's text is printed within single quotes and through emit() only.
# Quotation marks separate the records, so each record is all string or all structure, and it is
# printed as it comes: linear time even in an awk whose substr() and concatenation are not.
# Spaces between tokens are dropped; functions may rely on that when they pick values out.
shim_members='
BEGIN { RS = "\""; values = "{[v"; want = "{"; plain = "btnfr/"; meant = "\b\t\n\f\r/" }
!quoted { structure($0); quoted = opening = 1; next }
{
    if (opening) open_string()
    opening = 0
    escaped = substr($0, length($0)) == "\\" && match($0, /\\+$/) && RLENGTH % 2
    if (is_key) key[depth] = key[depth] $0
    if (capture && raw) { emit($0); printf "\"" }
    else if (capture) { decode(substr($0, 1, length($0) - escaped)); if (escaped) printf "\"" }
    if (!escaped) close_string()
}
END { exit want != "" }

function malformed() { want = "malformed"; exit }
function is_name(s) { return s ~ /^[A-Za-z_][A-Za-z0-9_]*$/ }
function structure(text,    items, item, i, tokens, token, j) {
    gsub(/\r/, " ", text)
    items = split(text, item, ",")   # first, since gsub() on long lists is slow in busybox
    for (i = 1; i <= items; i++) {
        if (i > 1) step(",")
        gsub(/[][{}:]/, " & ", item[i])
        tokens = split(item[i], token, " ")
        for (j = 1; j <= tokens; j++) step(token[j])
    }
}
function step(t,    c) {
    c = index("{}[]:,", t) ? t : "v"
    if (!index(want, c)) malformed()
    if (c == "v" && t !~ /^(true|false|null|-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?)$/) malformed()
    if (index(values, c)) begin_value(c != "v")
    if (capture) printf "%s", t
    if (c == ":") want = values "\""
    else if (c == ",") want = closer[depth] == "}" ? "k" : values "\""
    else if (c == "{") { closer[++depth] = "}"; want = "k}" }
    else if (c == "[") { closer[++depth] = "]"; want = values "\"]" }
    else { depth -= c != "v"; end_value() }
}
function open_string() {
    is_key = index(want, "k")
    if (is_key) key[depth] = ""
    else if (index(want, "\"")) begin_value(0)
    else malformed()
    if (capture && raw) printf "\""
}
function close_string() {
    quoted = 0
    if (is_key) want = ":"
    else end_value()
    is_key = 0
}
function begin_value(nested,    name) {
    if (capture || (name = variable()) == "") return
    capture = depth
    raw = nested || name == "shim_value"
    printf "%s=\047", name
}
function end_value() {
    if (capture && capture == depth) { capture = 0; printf "\047\n" }
    want = depth ? "," closer[depth] : ""
}
function variable() {
    if (kind == "run" && depth == 1 && key[1] == "value") return "shim_value"
    if (kind == "run" && depth == 1 && is_name(key[1])) return "export __OW_" toupper(key[1])
    if (kind == "run" || key[1] != "value") return ""
    if (depth == 2 && key[2] ~ /^(main|code|binary)$/) return "shim_" key[2]
    return depth == 3 && key[2] == "env" && is_name(key[3]) ? "export " key[3] : ""
}
function emit(s,    parts, part, i) {
    parts = split(s, part, "\047")
    printf "%s", part[1]
    for (i = 2; i <= parts; i++) printf "\047\\\047\047%s", part[i]
}
function decode(s,    parts, part, i, at, code, low) {
    parts = split(s, part, "\\")
    emit(part[1])
    for (i = 2; i <= parts; i++) {
        at = index(plain, substr(part[i], 1, 1))
        if (part[i] == "") emit("\\" part[++i])
        else if (at) emit(substr(meant, at, 1) substr(part[i], 2))
        else {
            code = hex(part[i])
            low = int(code / 1024) == 54 && length(part[i]) == 5 && i < parts ? hex(part[i + 1]) : 0
            if (int(low / 1024) == 55) { i++; code = (code - 55296) * 1024 + low + 9216 }
            emit(utf8(code) substr(part[i], 6))
        }
    }
}
function hex(s,    i, n) {
    if (s !~ /^u[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]/) malformed()
    for (i = 2; i <= 5; i++) n = n * 16 + index("123456789abcdef", tolower(substr(s, i, 1)))
    return n
}
function utf8(n) {   # without NUL, which no shell can hold
    if (n < 128) return n ? sprintf("%c", n) : ""
    if (n < 2048) return sprintf("%c", 192 + int(n / 64)) tail(n)
    if (n < 65536) return sprintf("%c", 224 + int(n / 4096)) tail(n / 64) tail(n)
    return sprintf("%c", 240 + int(n / 262144)) tail(n / 4096) tail(n / 64) tail(n)
}
function tail(n) { return sprintf("%c", 128 + int(n) % 64) }
'

# $1: run or init. Sets shim_value or shim_main, shim_code and shim_binary, and the environment.
shim_read_members() {
    shim_assignments=$(LC_ALL=C awk -v kind="$1" "$shim_members" <<EOF
$shim_body
EOF
    ) && eval "$shim_assignments"
}

# $1: status line, $2: body. Content-Length counts bytes, which ${#} does in every shell only under LC_ALL=C.
shim_respond() {
    shim_locale=${LC_ALL-} LC_ALL=C
    shim_size=${#2}
    LC_ALL=$shim_locale
    [ -n "$shim_locale" ] || unset LC_ALL
    printf 'HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' \
        "$1" "$shim_size" "$2" >&9
}

# $1: status line, $2: what went wrong, in any characters.
shim_refuse() {
    shim_respond "$1" "{\"error\":\"$(sed -e :a -e '$!{N' -e ba -e '}' \
        -e 's/[\\"]/\\&/g' -e 's/\n/\\n/g' -e 's/[[:cntrl:]]/ /g' <<EOF
$2
EOF
    )\"}"
}

shim_init() {
    if [ -n "$shim_ready" ]; then
        shim_refuse '403 Forbidden' 'cannot initialise the runtime twice'
        return
    fi
    shim_main=main shim_code='' shim_binary=false
    if ! shim_read_members init; then
        shim_refuse '400 Bad Request' 'malformed JSON, or no object'
        return
    fi
    if [ "$shim_binary" = true ]; then
        shim_code=$(base64 -d <<EOF
$shim_code
EOF
        ) || { shim_refuse '502 Bad Gateway' 'the code is not base64'; return; }
    fi
    # A syntax error would end this shell, so another one looks first.
    if ! shim_error=$(sh -n 2>&1 <<EOF
$shim_code
EOF
    ); then
        shim_refuse '502 Bad Gateway' "$shim_error"
        return
    fi
    # Nothing can stop an exit, but it can be answered.
    trap 'shim_refuse "502 Bad Gateway" "the code ended its shell while loading, with status $?"' EXIT
    shim_load
    trap - EXIT
    # `set -eu` and the like are meant for the code: kept for its runs, they must not govern the shim.
    for shim_flag in a e f u x; do
        case $- in *$shim_flag*) shim_flags=$shim_flags$shim_flag ;; esac
    done
    set +aefux
    shim_ready=1
    shim_respond '200 OK' '{"ok":true}'
}

# A function, so that a `return` in the code leaves this and not shim_init.
# The last line is for code under `set -e` that ends in a false condition.
shim_load() {
    eval "$shim_code
:" 9<&-
}

# Asking `type` costs a process, so each name's answer is kept in a variable of its own.
# `command -v` would be free, but cannot tell a function from a built-in.
shim_is_function() {
    case $1 in '' | [0-9]* | *[!A-Za-z0-9_]*) return 1 ;; esac
    eval "shim_known=\${shim_known_$1-}"
    if [ -z "$shim_known" ]; then
        case $(type "$1" 2>/dev/null) in
            "$1 is a function"* | "$1 is a shell function"*) shim_known=yes ;;
            *) shim_known=no ;;
        esac
        eval "shim_known_$1=$shim_known"
    fi
    [ "$shim_known" = yes ]
}

shim_run() {
    if [ -z "$shim_ready" ]; then
        shim_refuse '502 Bad Gateway' 'not initialised'
        return
    fi
    shim_value='{}'
    unset __OW_ACTION_NAME
    shim_read_members run || shim_value=malformed
    case $shim_value in
        "{"*) ;;
        null) shim_value='{}' ;;
        *) shim_refuse '400 Bad Request' 'malformed JSON, or no object'; return ;;
    esac
    if shim_is_function "${__OW_ACTION_NAME-}"; then
        shim_call "$__OW_ACTION_NAME"
    elif shim_is_function "$shim_main"; then
        shim_call "$shim_main"
    else
        shim_failure="the code defines no function $shim_main"
    fi
    printf '%s\n' "$shim_sentinel"
    printf '%s\n' "$shim_sentinel" >&2
    if [ -z "$shim_failure" ]; then
        shim_respond '200 OK' "$shim_result"
    else
        shim_refuse '502 Bad Gateway' "$shim_failure"
    fi
}

# $1: the function. Sets shim_result, or else shim_failure.
shim_call() {
    shim_output=$(
        exec 9<&-
        [ -z "$shim_flags" ] || set "-$shim_flags"
        "$1" "$shim_value"
    )
    shim_status=$?
    shim_take_result
    case $shim_status$shim_result in
        0"{"*"}") shim_failure=''; return ;;
        0*) shim_failure='the last line that the function printed is no JSON object' ;;
        *) shim_failure="the function ended with status $shim_status" ;;
    esac
    # What is no result is one more log line.
    [ -z "$shim_result" ] || printf '%s\n' "$shim_result"
}

# The last line of shim_output becomes shim_result, those before it are logs. By word splitting, which
# drops blank lines but takes linear time; ${...##*newline} would take minutes for a megabyte.
shim_take_result() {
    shim_ifs=${IFS-$shim_default_ifs}
    IFS=$shim_newline
    set -f
    # shellcheck disable=SC2086
    set -- $shim_output
    set +f
    IFS=$shim_ifs
    shim_result=
    for shim_line; do
        [ -z "$shim_result" ] || printf '%s\n' "$shim_result"
        shim_result=$shim_line
    done
}

while IFS=' ' read -r shim_method shim_path _ <&9; do
    shim_length=0
    while IFS= read -r shim_line <&9; do
        case $shim_line in
            '' | [[:cntrl:]]) break ;;   # a carriage return
            [Cc][Oo][Nn][Tt][Ee][Nn][Tt]-[Ll][Ee][Nn][Gg][Tt][Hh]:*)
                shim_length=${shim_line#*:}
                shim_length=${shim_length%[[:cntrl:]]}
                shim_length=${shim_length##*[ 	]}
                ;;
        esac
    done
    case $shim_length in
        '' | *[!0-9]*) shim_refuse '400 Bad Request' 'Content-Length is no number'; exit 0 ;;
        ??????????*) shim_length=999999999 ;;   # more digits than the comparison below is sure to take
    esac
    if [ "$shim_length" -gt 16777216 ]; then
        # Refused first: the sender may wait for the answer instead of sending it all.
        shim_refuse '413 Content Too Large' 'the body is larger than 16 MiB'
        head -c "$shim_length" <&9 >/dev/null
        continue
    fi
    shim_body=
    [ "$shim_length" -eq 0 ] || shim_body=$(head -c "$shim_length" <&9)
    case $shim_method$shim_path in
        POST/init) shim_init ;;
        POST/run) shim_run ;;
        *) shim_refuse '404 Not Found' 'POST /init and POST /run are all there is' ;;
    esac
done
