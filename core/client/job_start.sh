# What a job runs: /bin/sh -c <this> starts the agent that HFSANDBOX_AGENT_PAYLOAD carries (base64 of gzip) in an image of which nothing
# is known but that it has a shell. The build leaves out comments and indentation; job_start.h says what it is given and how it ends.
# Names begin with _s_: a variable of the user's environment with the same name would reach the commands changed.

_s_end() {
    echo "hfsandbox: $2" >&2
    exit "$1"
}
_s_have() {
    command -v "$1" >/dev/null 2>&1
}

_s_text=$HFSANDBOX_AGENT_PAYLOAD _s_sha=$HFSANDBOX_AGENT_SHA256 _s_size=$HFSANDBOX_AGENT_SIZE _s_arch=$HFSANDBOX_AGENT_ARCH
unset HFSANDBOX_AGENT_PAYLOAD HFSANDBOX_AGENT_SHA256 HFSANDBOX_AGENT_SIZE HFSANDBOX_AGENT_ARCH
for _s_x in "PAYLOAD=$_s_text" "SHA256=$_s_sha" "SIZE=$_s_size" "ARCH=$_s_arch"; do
    [ "${_s_x#*=}" ] || _s_end 80 "HFSANDBOX_AGENT_${_s_x%=} is missing in the job's environment"
done
_s_x=$(uname -m 2>/dev/null) || _s_x=$_s_arch
[ "$_s_x" = "$_s_arch" ] || _s_end 84 "the agent is for $_s_arch, and this machine is $_s_x"

_s_base64() {
    case $1 in
    base64) base64 -d ;;
    openssl) openssl base64 -d -A ;;
    python3) python3 -IS -c 'import sys,base64 as b;sys.stdout.buffer.write(b.b64decode(sys.stdin.read()))' ;;
    perl) perl -e '$_=<STDIN>;tr#A-Za-z0-9+/##cd;tr#A-Za-z0-9+/# -_#;print unpack("u",chr(32+length($1)*3/4).$1)while/(.{1,60})/g' ;;
    esac
}
_s_gunzip() {
    case $1 in
    python3) python3 -IS -c 'import sys,zlib;sys.stdout.buffer.write(zlib.decompress(sys.stdin.buffer.read(),31))' ;;
    perl) perl -MCompress::Zlib -e 'undef$/;print Compress::Zlib::memGunzip(<STDIN>)' ;;
    *) "$1" -dc ;;
    esac
}
_s_digest() {
    sha256sum <"$1" || openssl dgst -sha256 -r <"$1" ||
        python3 -IS -c 'import sys,hashlib as h;print(h.sha256(sys.stdin.buffer.read()).hexdigest())' <"$1" ||
        perl -MDigest::SHA -e 'undef$/;print Digest::SHA::sha256_hex(<STDIN>)' <"$1"
}
_s_whole() {
    if _s_x=$(_s_digest "$1" 2>/dev/null); then
        [ "${_s_x%% *}" = "$_s_sha" ]
    else
        _s_x=$(wc -c <"$1" 2>/dev/null) && [ "${_s_x##* }" = "$_s_size" ] &&
            echo "hfsandbox: nothing here makes a SHA-256; only the agent's length is checked" >&2
    fi
}
_s_unpack() {
    for _s_b in $_s_bs; do
        for _s_g in $_s_gs; do
            printf %s "$_s_text" | _s_base64 $_s_b 2>/dev/null | _s_gunzip $_s_g >"$1" 2>/dev/null
            _s_whole "$1" && return
        done
    done
    return 1
}

_s_bs= _s_gs=
for _s_x in base64 openssl python3 perl; do
    _s_have $_s_x && _s_bs="$_s_bs $_s_x"
done
for _s_x in gzip gunzip python3; do
    _s_have $_s_x && _s_gs="$_s_gs $_s_x"
done
# Asking perl takes long, so only where nothing else is there.
[ "$_s_gs" ] || ! perl -MCompress::Zlib -e 1 2>/dev/null || _s_gs=perl
[ "$_s_bs" ] || _s_end 81 "the image has none of base64, openssl, python3 and perl"
[ "$_s_gs" ] || _s_end 81 "the image has none of gzip, gunzip, python3 and perl with Compress::Zlib"
_s_have chmod || _s_end 81 "the image has no chmod"

# Into a file that this makes and nobody else has put there. Only running it shows whether the place allows that.
_s_damaged=
for _s_d in /tmp /dev/shm /var/tmp /run "$HOME" .; do
    _s_f=$_s_d/.hfsandbox-agent.$$
    [ -d "$_s_d" ] && (umask 077 && set -C && : >"$_s_f") 2>/dev/null || continue
    if ! _s_unpack "$_s_f"; then
        _s_damaged="$_s_damaged $_s_d"
    elif chmod 700 "$_s_f" && "$_s_f" --version >/dev/null 2>&1; then
        export HFSANDBOX_AGENT_FILE="$_s_f"
        exec "$_s_f" "$@"
    fi
    rm -f "$_s_f"
done
[ -z "$_s_damaged" ] || _s_end 82 "the agent's payload is damaged, or $_s_size bytes do not fit into$_s_damaged"
_s_end 83 "none of /tmp, /dev/shm, /var/tmp, /run, HOME and . can be written and run programs"
