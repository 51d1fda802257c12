"""Page bytes to Arrow record batches.

`Decoder` makes rows of a page, `Encoder` a batch of rows; between them the walk slices and joins the rows as it needs.
"""

from exporter.encode.batch import Encoded, Encoder
from exporter.encode.decode import DecodedPage, Decoder
from exporter.encode.rows import EncodeRow, Misfit
from exporter.encode.schema import arrow_schema

__all__ = ["DecodedPage", "Decoder", "EncodeRow", "Encoded", "Encoder", "Misfit", "arrow_schema"]
