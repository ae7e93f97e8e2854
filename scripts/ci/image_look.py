"""Run inside an image: what the kernel says of the first process, and what a thief could do there.

The first word is the folder that may be written, the others are those that may not.
"""

LOOK = """
import importlib.util, json, os, pathlib, shutil, stat, sys
lines = pathlib.Path("/proc/1/status").read_text().splitlines()
said = dict(line.split(":", 1) for line in lines)
def writable(path):
    try:
        pathlib.Path(path, "probe").touch()
    except OSError:
        return False
    return True
def raises(path):
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    return stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID)
tools = ("pip", "pip3", "gcc", "cc", "curl", "wget", "git")
print(json.dumps({
    "uids": said["Uid"].split(),
    "capabilities": [said[key].strip() for key in ("CapEff", "CapPrm", "CapBnd")],
    "no_new_privileges": said["NoNewPrivs"].strip(),
    "first": pathlib.Path("/proc/1/cmdline").read_bytes().split(bytes(1))[0].decode(),
    "writable": [path for path in sys.argv[2:] if writable(path)],
    "home": writable(sys.argv[1]),
    "tools": [tool for tool in tools if shutil.which(tool)]
    + ["pip"] * (importlib.util.find_spec("pip") is not None),
    "raising": sorted({
        os.path.join(folder, name)
        for top in ("/usr", *os.environ["PATH"].split(os.pathsep))
        for folder, _, names in os.walk(top)
        for name in names
        if raises(os.path.join(folder, name))
    }),
}))
"""
# The same where there is no Python. What else the makers put into their images is theirs.
LOOK_SH = """
grep -E '^(Uid|CapEff|CapPrm|CapBnd|NoNewPrivs):' /proc/1/status
echo "First: $(tr '\\0' '\\n' </proc/1/cmdline | head -n 1)"
home=$1
shift
echo "Writable:$(for folder in "$@"; do
  ! (: >"$folder/probe") 2>/dev/null || printf ' %s' "$folder"
done)"
echo "Home:$( (: >"$home/probe") 2>/dev/null && printf ' yes')"
"""
