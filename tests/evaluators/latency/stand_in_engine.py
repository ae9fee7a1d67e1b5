"""Runs the network in a stand-in engine, as `trtexec` would with `--loadInputs=NAME:FILE --exportOutput=FILE`.

Arguments: the engine, its input's name, the file with the input's numbers, the JSON file to write.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime

engine, name, numbers, output = sys.argv[1:]
session = onnxruntime.InferenceSession(
    Path(engine).read_bytes().partition(b"\n")[2], providers=["CPUExecutionProvider"]
)
(taken,) = session.get_inputs()
assert taken.name == name
image = np.fromfile(numbers, np.float32).reshape(taken.shape)
found = session.run(None, {name: image})
with Path(output).open("w") as file:
    file.write("[")
    for number, (given, values) in enumerate(zip(session.get_outputs(), found, strict=True)):
        sides = "x".join(map(str, values.shape))
        listed = ", ".join(f"{value:.6g}" for value in values.flatten().tolist())
        file.write(f'{", " if number else "  "}{{ "name" : "{given.name}"\n  , "dimensions" : "{sides}"\n')
        file.write(f'  , "values" : [ {listed} ]\n  }}')
    file.write("\n]\n")
