"""A server of an accepted model: raw columns in, what evaluation would have judged out.

served.py    the model with its pipeline, and the proof that they give what was judged
protocol.py  requests and answers of the Open Inference Protocol, version 2
pieces.py    JSON of large requests, read so that others are answered meanwhile
