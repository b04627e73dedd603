"""text_format and buf_printf know few conversions, and the compiler's check of formats knows many more."""
import re

from test_arrows import ROOT, tracked

CONVERSION = re.compile(r"%(?:%|[0-9]*(?:ll|l|z)?[duxXo]|c|(?:\.(?:\*|[0-9]+))?s)")
LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"')


def unknown(text):
    return [literal for literal in LITERAL.findall(text) if re.search("%[-+ #0-9.*a-zA-Z]", CONVERSION.sub("", literal))]


def calls(text):
    """The arguments of every buf_printf, up to the semicolon."""
    return " ".join(re.findall(r"\bbuf_v?printf\((.*?)\);", text, re.DOTALL))


def test_formats():
    wrong = []
    for path in tracked("core"):
        if path.suffix not in (".c", ".h"):
            continue
        part = path.relative_to(ROOT).parts[1]
        text = path.read_text()
        if part in ("agent", "wire"):
            wrong += [f"{path.name}: {literal}" for literal in unknown(text)]
        elif part != "cli":
            wrong += [f"{path.name}: {literal}" for literal in unknown(calls(text))]
    assert not wrong, wrong


def test_the_check_sees():
    assert unknown('"%s %d %5.2f"') and unknown('"%i"') and unknown('"%-8s"')
    assert not unknown('"%% %s %.*s %.20s %04x %02X %lld %zu %c %lx"')
