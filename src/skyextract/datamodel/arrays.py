"""Names of array types, by kind and bytes per element as in numpy: F4 is float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
I2 = NDArray[np.int16]
I4 = NDArray[np.int32]
I8 = NDArray[np.int64]
U1 = NDArray[np.uint8]
U2 = NDArray[np.uint16]
C8 = NDArray[np.complex64]
Bools = NDArray[np.bool_]
AnyArray = NDArray[Any]
