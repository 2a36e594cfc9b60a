"""Arrow's types as Spark's. For some its reader of Parquet refuses the whole file."""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql import types as T

from .arrow import MOST_DIGITS, is_list

_PLAIN: dict[pa.DataType, T.DataType] = {
    pa.bool_(): T.BooleanType(),
    pa.int8(): T.ByteType(),
    pa.int16(): T.ShortType(),
    pa.int32(): T.IntegerType(),
    pa.int64(): T.LongType(),
    pa.uint8(): T.ShortType(),
    pa.uint16(): T.IntegerType(),
    pa.uint32(): T.LongType(),
    pa.uint64(): T.DecimalType(20, 0),
    pa.float32(): T.FloatType(),
    pa.float64(): T.DoubleType(),
    pa.string(): T.StringType(),
    pa.large_string(): T.StringType(),
    pa.date32(): T.DateType(),
    pa.binary(): T.BinaryType(),
}


# As Arrow has it of Parquet.
_INTERVAL = pa.binary(12)


def readable(type_: pa.DataType) -> bool:
    """Whether Spark reads it, whatever else is in the file: not times of day, intervals and UUIDs,
    nor floating point numbers of 16 bits, nor decimals of very many digits."""
    if pa.types.is_time(type_) or pa.types.is_float16(type_) or type_ == _INTERVAL:
        return False
    if isinstance(type_, pa.BaseExtensionType):
        return False
    if pa.types.is_decimal(type_) and type_.precision > MOST_DIGITS:
        return False
    inner = [type_.field(place).type for place in range(type_.num_fields)]
    return all(readable(one) for one in inner)


def schema_without(schema: pa.Schema) -> T.StructType | None:
    """What Spark can read of a file that has more; None when it can read all of it."""
    if all(readable(field.type) for field in schema):
        return None
    kept = [(field.name, spark_type(field.type)) for field in schema]
    return T.StructType([T.StructField(name, kind) for name, kind in kept if kind is not None])


def in_microseconds(schema: pa.Schema) -> pa.Schema:
    """The schema with times as Spark has them, whatever a file has."""
    moment = pa.timestamp("us")
    return pa.schema([f.with_type(moment) if pa.types.is_timestamp(f.type) else f for f in schema])


def spark_type(type_: pa.DataType) -> T.DataType | None:
    """As its reader of Parquet gives it, less what it does not read; None when nothing is left."""
    if pa.types.is_struct(type_):
        inner = [(field.name, spark_type(field.type)) for field in type_]
        fields = [T.StructField(name, kind) for name, kind in inner if kind is not None]
        return T.StructType(fields) if fields else None
    if pa.types.is_dictionary(type_):
        return spark_type(type_.value_type)
    if pa.types.is_decimal(type_):
        if type_.precision > MOST_DIGITS:
            return None
        return T.DecimalType(type_.precision, type_.scale)
    if pa.types.is_timestamp(type_):
        if type_.unit == "ns":
            return T.LongType()  # see ``spark_session``
        return T.TimestampType() if type_.tz else T.TimestampNTZType()
    if is_list(type_):
        element = spark_type(type_.value_type)
        return None if element is None else T.ArrayType(element)
    if pa.types.is_map(type_):
        key, item = spark_type(type_.key_type), spark_type(type_.item_type)
        return None if key is None or item is None else T.MapType(key, item)
    if pa.types.is_fixed_size_binary(type_):
        return T.BinaryType()
    return _PLAIN.get(type_)
