"""Random templates for make_jinja_vectors.py --random: grown from a grammar, so that most of them parse."""

DATA = {
    "s": "Hello World", "t": "a,b;c d", "u": "Ünï ς Σ 東🙂", "e": "", "i": 3, "j": -12, "z": 0, "f": 2.5, "g": -0.125, "y": True, "x": False,
    "n": None, "l": [3, 1, 2], "w": ["b", "A", "c", "B"], "m": [1, "two", 3.5, None, True], "d": {"a": 1, "b": "two", "c": [1, 2]},
    "o": [{"k": "x", "v": 1}, {"k": "Y", "v": 2}, {"k": "x", "v": 3}], "q": [[1, 2], [3]], "h": "<a href='x'>&amp;</a>", "p": "one two  three\nfour\n\nfive-six",
}
NAMES = list(DATA) + ["missing", "a1", "a2"]
BINARY = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
FILTERS = [
    "abs", "capitalize", "center(%i)", "count", "default(%e)", "default(%e, true)", "dictsort", "e", "first", "float", "float(1.5)", "forceescape",
    "indent(%i)", "indent(2, true, true)", "int", "int(7)", "items|list", "join", "join(%s)", "last", "length", "list", "lower", "max", "min", "pprint",
    "replace(%s, %s)", "reverse", "reverse|list", "round", "round(%i)", "round(1, 'floor')", "safe", "sort", "sort(reverse=true)", "string", "striptags", "sum",
    "title", "tojson", "tojson(indent=%i)", "trim", "trim(%s)", "truncate(%i)", "truncate(9, true, '', 0)", "unique|list", "upper", "urlencode", "wordcount",
    "wordwrap(%i)", "wordwrap(7, false)", "xmlattr", "batch(%i)|list", "slice(%i)|list", "map('upper')|list", "map('string')|list", "map(attribute='k')|list",
    "map(attribute='v', default=0)|list", "select('string')|list", "reject('none')|list", "select('odd')|list", "selectattr('v', 'gt', 1)|list", "selectattr('k')|list",
    "rejectattr('k', 'eq', 'x')|list", "groupby('k')|list", "groupby('v', default=1)|list", "filesizeformat", "format(%e)", "attr('upper')", "attr('items')",
    "escape|upper", "sum(attribute='v')", "join('-', attribute='k')", "first|upper", "list|last", "dictsort(reverse=true)|first", "sort(attribute='k')", "max(attribute='v')",
]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true", "false", "mapping", "sequence", "iterable", "odd", "even", "lower", "upper",
         "divisibleby(%i)", "eq(%e)", "ne %a", "gt(%e)", "lt(%e)", "ge(%e)", "le(%e)", "in(%e)", "sameas none", "escaped", "callable", "filter", "test"]
METHODS = ["upper()", "lower()", "title()", "strip()", "strip(%s)", "lstrip()", "rstrip(%s)", "split()", "split(%s)", "split(%s, %i)", "rsplit(%s, %i)", "split(none, %i)", "rsplit(none, %i)",
           "splitlines()", "replace(%s, %s)", "replace(%s, %s, %i)", "find(%s)", "rfind(%s)", "find(%s, %i)", "count(%s)", "index(%s)", "startswith(%s)", "endswith(%s)", "join(%e)", "format(%e, %e)",
           "isdigit()", "isalpha()", "isupper()", "islower()", "istitle()", "isspace()", "isalnum()", "zfill(%i)", "ljust(%i, '.')", "rjust(%i)", "center(%i, '*')", "partition(%s)", "rpartition(%s)",
           "removeprefix(%s)", "removesuffix(%s)", "capitalize()", "swapcase()", "items()", "keys()", "values()", "get(%s)", "get('a', %e)", "append(1)", "index(1)", "count(1)"]
STRINGS = ["''", "'a'", "'l'", "' '", "','", "'o W'", "'Hello'", "'%s'", "'{} {}'", "'{:>5}|{!r}'", "'x\\ny'", "'é'", "\"it's\"", "'%05.1f'", "'-%5d|'", "'ab'", "'{:05}'", "'{:.2}'", "'{:,}'", "'%r %s'"]


class Maker:
    def __init__(self, rng):
        self.rng = rng

    def pick(self, items):
        return self.rng.choice(items)

    def fill(self, pattern, depth):
        out = ""
        parts = pattern.split("%")
        for part in parts[1:]:
            out += {"i": self.integer, "s": lambda: self.pick(STRINGS), "e": lambda: self.expr(depth - 1), "a": lambda: self.pick(NAMES)}[part[0]]() + part[1:]
        return parts[0] + out

    def integer(self):
        return str(self.pick([0, 1, 2, 3, 5, 8, 20, -1, -2]))

    def atom(self):
        kind = self.rng.random()
        if kind < 0.55:
            return self.pick(NAMES)
        if kind < 0.7:
            return self.pick(STRINGS)
        if kind < 0.85:
            return self.integer()
        return self.pick(["2.5", "1e3", "true", "none", "[]", "{}", "(1, 'a')", "[1, [2, none]]", "{'a': 1, 2: 'b'}", "range(4)", "d.c", "o[0].k", "o[-1]", "0.1", "1e-7", "123456789012", "2 ** 10", "i ** 2", "f ** -1"])

    def expr(self, depth=3):
        if depth <= 0:
            return self.atom()
        kind = self.rng.random()
        one = lambda: self.expr(depth - 1)  # noqa: E731
        if kind < 0.12:
            return self.atom()
        if kind < 0.3:
            return f"({one()}) {self.pick(BINARY)} ({one()})" if self.rng.random() < 0.7 else f"{one()} {self.pick(BINARY)} {self.atom()}"
        if kind < 0.55:
            return f"({one()})|{self.fill(self.pick(FILTERS), depth)}"
        if kind < 0.65:
            return f"({one()}) is {self.pick(['', 'not '])}{self.fill(self.pick(TESTS), depth)}"
        if kind < 0.8:
            return f"({one()}).{self.fill(self.pick(METHODS), depth)}"
        if kind < 0.88:
            # of a name: what slicing a number gives depends on whether jinja2 can compute it beforehand
            return f"{self.pick(NAMES)}[{self.pick(['0', '-1', '1:', ':-1', '::-1', '::2', '1:3', '-2:', 's', repr('a'), '5', '3:0:-2', 'i'])}]"
        if kind < 0.93:
            return f"({one()} if {one()} else {one()})"
        if kind < 0.96:
            return f"[{one()}, {one()}]"
        return f"not {one()}" if self.rng.random() < 0.5 else f"-{self.atom()}"

    def space(self):
        return self.pick(["", "", " ", "\n", "  \n", "\n  ", "text ", "\n\n", "\t", " x\n"])

    def tag(self, inside):
        return "{%" + self.pick(["", "", "-", "+"]) + " " + inside + " " + self.pick(["", "", "-", "+"]) + "%}"

    def body(self, depth):
        return "".join(self.space() + self.part(depth) for _ in range(self.rng.randint(1, 2))) + self.space()

    def part(self, depth):
        kind = self.rng.random() if depth else 0
        if kind < 0.5:
            return "{{" + self.pick(["", "", "-"]) + " " + self.expr(self.rng.randint(1, 3)) + " " + self.pick(["", "", "-"]) + "}}"
        if kind < 0.62:
            return self.tag(f"if {self.expr(2)}") + self.body(depth - 1) + self.pick(["", self.tag(f"elif {self.expr(1)}") + "E"]) + \
                self.pick(["", self.tag("else") + self.body(depth - 1)]) + self.tag("endif")
        if kind < 0.78:
            over = self.pick(["l", "w", "o", "q", "d", "t", "range(3)", "d.items()", "m", "u", "[]", "missing", "l|sort", "o|map(attribute='k')"])
            var = self.pick(["i", "k", "v"])
            extra = self.pick(["", "", f" if {self.expr(1)}"])
            more = self.pick(["{{ loop.index }}", "{{ loop.last }}", "{{ loop.revindex }}", "{{ loop.nextitem }}", f"{{{{ {var} }}}}", "{% break %}", "{% continue %}", "{{ loop.changed(i) }}", "{{ loop.cycle(1, 2) }}"])
            return self.tag(f"for {var} in {over}{extra}") + more + self.body(depth - 1) + self.pick(["", self.tag("else") + "none"]) + self.tag("endfor")
        if kind < 0.86:
            return self.tag(f"set {self.pick(['a1', 'a2', 'b1'])} = {self.expr(2)}")
        if kind < 0.9:
            return self.tag(f"set {self.pick(['b1', 'a2'])}") + self.body(depth - 1) + self.tag("endset") + "{{ b1 }}"
        if kind < 0.94:
            return self.tag("macro mm(a, i=5)") + "{{ a }}" + self.body(depth - 1) + self.tag("endmacro") + "{{ mm(" + self.expr(1) + ") }}"
        if kind < 0.97:
            return self.tag(f"filter {self.pick(['upper', 'trim', 'indent(2)', 'replace(1, 2)', 'title'])}") + self.body(depth - 1) + self.tag("endfilter")
        return self.tag(f"with i = {self.expr(1)}") + self.body(depth - 1) + self.tag("endwith")

    def template(self):
        return self.part(0) if self.rng.random() < 0.5 else self.body(2)
