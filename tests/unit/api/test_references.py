"""Each field that names an object of the cluster is asked about by the chart's policies, or it is
said why not: a new one is neither until somebody has decided."""

from __future__ import annotations

from tests.probes.references import ASKED, FREE, PARTS, ends, names


def test_each_name_of_an_object_is_asked_about_or_it_is_said_why_not() -> None:
    found = names()
    assert len(found) > 100  # the walk sees what the CRD leaves open, too
    for path in found:
        assert sum(ends(path, end) for end in (*ASKED, *FREE)) == 1, path
    for end in (*ASKED, *FREE):
        assert any(ends(path, end) for path in found), f"{end} is in no schema"


def test_each_part_with_pods_has_the_same_names() -> None:
    """A part that is new is one of those that the policies of the chart go through."""
    with_pods = {path.partition(".template.")[0] for path in names() if ".template." in path}
    assert with_pods == set(PARTS)
