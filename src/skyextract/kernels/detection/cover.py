"""How many pixels of sources there are in the cells of a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import I8


@kernel
def count_in_cells(pixel: I8, nx: int, of_row: I8, of_column: I8, number: I8) -> None:
    """Count the pixels in each cell.

    Parameters
    ----------
    pixel : (n,) int64
        Places in the frame, row after row.
    nx : int
        Pixels in a row of the frame.
    of_row : (ny,) int64
        First cell of the row of cells that each row is in.
    of_column : (nx,) int64
        Number of the cell in this row of cells.
    number : (n_cells,) int64, output
        Is added to.
    """
    per_row = 1.0 / nx
    for p in pixel:
        # A division takes many times as long; this is off by one at most, at the ends of a row.
        row = int(p * per_row)
        column = p - row * nx
        if column < 0:
            row, column = row - 1, column + nx
        elif column >= nx:
            row, column = row + 1, column - nx
        number[of_row[row] + of_column[column]] += 1
