#!/usr/bin/env python3
"""scripts/floors.py finds what it is for, in trees of a few files: each case is one import that is wrong, or right."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

FLOORS = Path(__file__).parents[2] / "scripts" / "floors.py"
RUST = {"lib.rs": "pub mod high;\n\n// The ground.\npub mod low;\n", "high.rs": "", "low.rs": ""}
ERLANG = {"outrider.erl": "", "house/outrider_h.erl": "", "high/outrider_a.erl": "", "low/outrider_b.erl": ""}
ROOMS = ["house/", "", "high/", "low/"]
PAGE = "| room | |\n|---|---|\n" + "".join(f"| `erlang/src/{room}` | |\n" for room in ROOMS)


class Floors(unittest.TestCase):
    def complaints(self, rust={}, erlang={}):
        with tempfile.TemporaryDirectory() as folder:
            files = {f"src/{name}": text for name, text in {**RUST, **rust}.items()}
            files |= {f"erlang/src/{name}": text for name, text in {**ERLANG, **erlang}.items()}
            for name, text in {"docs/architecture.md": PAGE, **files}.items():
                file = Path(folder, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            run = subprocess.run([sys.executable, FLOORS, folder], stdout=subprocess.PIPE, text=True)
        lines = [line for line in run.stdout.splitlines() if not line.startswith("floors: ")]
        self.assertEqual(run.returncode, 1 if lines else 0)
        return lines

    def rust(self, **files):
        return self.complaints(rust={name.replace("__", "/") + ".rs": text for name, text in files.items()})

    def test_downwards_is_right(self):
        self.assertEqual(self.rust(main="use outrider::high;", high="use crate::low::{self, Item};"), [])
        calls = {"outrider.erl": "outrider_a:f().", "high/outrider_a.erl": "outrider_b:f()."}
        self.assertEqual(self.complaints(erlang=calls), [])

    def test_rust_imports_upwards(self):
        wrong = ["src/low.rs imports src/high.rs, upwards"]
        for text in (
            "use crate::high::Item;",
            "use crate::{\n    low::{A, B},\n    high::Item as Other,\n};",
            "fn f() { crate::high::f() }",
            "use super::high;",
            "#[cfg(test)]\nmod tests { use super::*; }\nuse crate::high::Item;",
        ):
            self.assertEqual(self.rust(low=text), wrong, text)
        both = self.rust(high="use crate::low;", low="use crate::high;")
        self.assertIn(wrong[0], both)
        self.assertIn("a circle: src/high.rs > src/low.rs > src/high.rs", both)

    def test_rust_circles_within_a_room(self):
        two = {"low__mod": "mod a;\nmod b;\npub use a::A;", "low__a": "use super::b::B;"}
        circle = ["a circle: src/low/a.rs > src/low/b.rs > src/low/a.rs"]
        for text in ("use super::a::A;", "use super::A;", "use crate::low::A as Other;", "use super::a;\nfn f() { a::f() }"):
            self.assertEqual(self.rust(**two, low__b=text), circle, text)
        three = self.rust(low__mod="", low__a="use super::b::B;", low__b="use super::c::C;", low__c="use super::a::A;")
        self.assertEqual(three, ["a circle: src/low/a.rs > src/low/b.rs > src/low/c.rs > src/low/a.rs"])

    def test_a_re_export_is_no_import_unless_it_is_used(self):
        child = "use super::Own;"
        self.assertEqual(self.rust(low__mod="mod a;\npub use a::A;\npub struct Own;", low__a=child), [])
        for text in ("mod a;\npub use a::A;\nfn f(_: A) {}", "mod a;\nuse a::A;", "mod a;\nfn f() { a::f() }"):
            self.assertEqual(
                self.rust(low__mod=text, low__a=child), ["a circle: src/low/a.rs > src/low/mod.rs > src/low/a.rs"], text
            )

    def test_rooms_of_one_floor_are_in_no_circle(self):
        rooms = {"lib": "pub mod high;\npub mod low;\n", "high__mod": "", "high__a": "use crate::low::b;"}
        self.assertEqual(self.rust(**rooms, low__mod="", low__b=""), [])
        circle = self.rust(**rooms, low__mod="use crate::high;", low__b="")
        self.assertEqual(circle, ["a circle of rooms: high > low > high"])

    def test_tests_comments_and_strings_are_no_imports(self):
        for text in (
            "#[cfg(test)]\nmod tests { use crate::high::Item; fn f() { if true {} } }",
            "// use crate::high::Item;\n/// [`crate::high::Item`]\n/* crate::high::f() */",
            'const A: &str = "\\"crate::high::f"; const B: &str = r#"crate::high::f"#; const C: char = \'"\';',
        ):
            self.assertEqual(self.rust(low=text), [], text)
        for text in ("%% outrider_a:f().", 'f() -> "outrider_a".', '-ifdef(TEST).\nf() -> outrider_a:f().\n-endif.\n'):
            self.assertEqual(self.complaints(erlang={"low/outrider_b.erl": text}), [], text)

    def test_erlang_calls_upwards(self):
        wrong = "erlang/src/low/outrider_b.erl imports erlang/src/high/outrider_a.erl, upwards"
        for text in ("f() -> outrider_a:f().", "-spec f() -> outrider_a:t().", "f() -> {outrider_a, f, []}.", 'f() -> $", outrider_a:f().'):
            self.assertEqual(self.complaints(erlang={"low/outrider_b.erl": text}), [wrong], text)
        api = self.complaints(erlang={"low/outrider_b.erl": "f() -> outrider:f()."})
        self.assertEqual(api, ["erlang/src/low/outrider_b.erl imports erlang/src/outrider.erl, upwards"])
        self.assertEqual(self.complaints(erlang={"low/outrider_b.erl": "f() -> application:get_env(outrider, key)."}), [])

    def test_erlang_rooms_on_the_roof_call_the_api_and_are_called_by_none(self):
        self.assertEqual(self.complaints(erlang={"house/outrider_h.erl": "outrider:f(), outrider_a:f()."}), [])
        wrong = ["erlang/src/outrider.erl imports erlang/src/house/outrider_h.erl, upwards"]
        self.assertEqual(self.complaints(erlang={"outrider.erl": "outrider_h:f()."}), wrong)

    def test_erlang_circles_of_two(self):
        pair = {"low/outrider_b.erl": "outrider_c:f().", "low/outrider_c.erl": "outrider_b:f()."}
        circle = "a circle: erlang/src/low/outrider_b.erl > erlang/src/low/outrider_c.erl > erlang/src/low/outrider_b.erl"
        self.assertEqual(self.complaints(erlang=pair), [circle])

    def test_each_room_has_a_floor(self):
        self.assertEqual(self.complaints(erlang={"new/outrider_c.erl": ""}), ["new is a room without a floor"])


if __name__ == "__main__":
    unittest.main()
