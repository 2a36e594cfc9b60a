"""Write data sets of scikit-learn and texts of Python for the examples; nothing is downloaded.

    python examples/make_data.py

digits/datasets/digits.csv             1797 rows, pixel_0 … pixel_63 (0 to 16), target (0 to 9)
keras/datasets/digits.csv              the same
diabetes/datasets/diabetes.csv         442 rows, ten measurements, target (progression in a year)
gradient-boosting/datasets/flats.csv   4000 flats that are made up, two texts, nulls, rent
hadoop/datasets/wine.csv               178 rows, 13 measurements, cultivar (0 to 2)
language-model/datasets/topics.json    the topics of Python's help(), a paragraph a line
fine-tune/datasets/chats.json          lines of these topics, and whether they are code or prose
huggingface/datasets/lines.json        the same lines, without the chat
own-code/datasets/breast_cancer.csv    569 rows, 30 measurements, diagnosis (benign, malignant)
tensorflow/datasets/digits.csv         the same as digits.csv above
xgboost/datasets/breast_cancer.csv     the same as breast_cancer.csv above

Files that are there are left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent


def digits(data):
    """8×8 grey images of hand-written digits."""
    bunch = data.load_digits(as_frame=True)
    frame = bunch.data.astype(int)
    frame.columns = [f"pixel_{index}" for index in range(64)]
    return frame.assign(target=bunch.target)


def diabetes(data):
    """Blood values of patients, in their units."""
    return data.load_diabetes(as_frame=True, scaled=False).frame.astype({"target": int})


def flats(data):
    """Flats whose rent follows a rule, but for a tenth; what a landlord does not tell is null."""
    import numpy
    import pandas

    rng = numpy.random.default_rng(11)
    rows = 4000
    per_metre = {"Aachen": 9.5, "Bonn": 11.5, "Celle": 7, "Dresden": 8, "Essen": 7.5, "Fulda": 8.5}
    city = rng.choice([*per_metre], rows)
    heating = rng.choice(["gas", "district", "heat pump", "oil"], rows, p=[0.5, 0.25, 0.15, 0.1])
    area, year = rng.uniform(20, 140, rows).round(1), rng.integers(1900, 2025, rows)
    balcony = rng.random(rows) < 0.4
    rent = area * pandas.Series(city).map(per_metre) * (1 + (year > 1990) * 0.15)
    rent += balcony * 60 - (heating == "oil") * 80 + 150
    frame = pandas.DataFrame({"city": city, "area": area, "heating": heating, "year": year})
    frame = frame.assign(balcony=balcony, rent=(rent * rng.lognormal(0, 0.1, rows)).round())
    for column, share in {"heating": 0.2, "year": 0.1, "balcony": 0.05}.items():
        frame[column] = frame[column].astype("object").mask(rng.random(rows) < share)
    return frame


def wine(data):
    """Chemical analyses of Italian wines."""
    frame = data.load_wine(as_frame=True).frame
    return frame.rename(columns=lambda name: name.replace("/", "_")).rename(
        columns={"target": "cultivar"}
    )


def breast_cancer(data):
    """Measurements of cell nuclei."""
    bunch = data.load_breast_cancer(as_frame=True)
    frame = bunch.data.rename(columns=lambda name: name.replace(" ", "_"))
    return frame.assign(diagnosis=bunch.target.map(dict(enumerate(bunch.target_names))))


def topics(data):
    """What Python's help() has to say: English, and code."""
    from pydoc_data.topics import topics

    import pandas

    rows = [
        {"topic": name, "body": body}
        for name, text in sorted(topics.items())
        for body in text.split("\n\n")
        if body.strip()
    ]
    return pandas.DataFrame(rows)


def lines(data):
    """Lines of what help() says, one of code and one of prose by turns."""
    import re
    from pydoc_data.topics import topics

    import pandas

    code = re.compile(r"(>>> |def |class |for |if |while |try:|except |with |return |[a-z_]+ = )")
    prose = re.compile(r"[A-Z][a-z]+ [a-z]+ [a-z]+")
    kinds: dict[str, list[str]] = {"code": [], "prose": []}
    for text in topics.values():
        for line in dict.fromkeys(text.splitlines()):
            said = line.strip()
            if 12 <= len(said) <= 72:
                if line.startswith("   ") and code.match(said) and re.search(r"[=(\[:]", said):
                    kinds["code"].append(said)
                elif prose.match(line):
                    kinds["prose"].append(said)
    rows = [
        {"line": line, "kind": kind}
        for pair in zip(*kinds.values(), strict=False)
        for kind, line in zip(kinds, pair, strict=False)
    ]
    return pandas.DataFrame(rows)


def chats(data):
    """Conversations: such a line, and the answer whether it is code or prose."""
    import pandas

    rows = [
        {
            "messages": [
                {"role": "user", "content": line},
                {"role": "assistant", "content": kind},
            ]
        }
        for line, kind in lines(data).itertuples(index=False)
    ]
    return pandas.DataFrame(rows)


FILES: dict[str, Callable] = {
    "digits/datasets/digits.csv": digits,
    "keras/datasets/digits.csv": digits,
    "diabetes/datasets/diabetes.csv": diabetes,
    "gradient-boosting/datasets/flats.csv": flats,
    "hadoop/datasets/wine.csv": wine,
    "language-model/datasets/topics.json": topics,
    "fine-tune/datasets/chats.json": chats,
    "huggingface/datasets/lines.json": lines,
    "own-code/datasets/breast_cancer.csv": breast_cancer,
    "search/datasets/digits.csv": digits,
    "tensorflow/datasets/digits.csv": digits,
    "xgboost/datasets/breast_cancer.csv": breast_cancer,
}


def main() -> None:
    """Write what is missing."""
    missing = [name for name in FILES if not (EXAMPLES / name).is_file()]
    if not missing:
        return
    from sklearn import datasets  # takes a second

    for name in missing:
        path = EXAMPLES / name
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".writing")
        frame = FILES[name](datasets)
        if path.suffix == ".json":
            frame.to_json(aside, orient="records", lines=True)
        else:
            frame.to_csv(aside, index=False)
        aside.replace(path)
        print(f"wrote examples/{name}")


if __name__ == "__main__":
    main()
