// SPDX-License-Identifier: Apache-2.0
#include "engine/mini_batch.h"

#include <catch2/catch.hpp>
#include <vector>

using namespace ttt;

TEST_CASE("pieces cover every row once, never cross a mini-batch and commit at its end") {
  const std::size_t size = GENERATE(1U, 5U, 16U);
  const std::int64_t position = GENERATE(0, 1, 4, 15, 16, 17, 1'000'000'007);
  const std::size_t rows = GENERATE(0U, 1U, 15U, 16U, 17U, 100U);
  std::size_t next = 0;
  for_each_piece(position, rows, size, [&](const MiniBatchPiece& piece) {
    CHECK(piece.first_row == next);
    CHECK(piece.num_rows > 0);
    CHECK(piece.phase == (static_cast<std::size_t>(position) + next) % size);
    CHECK(piece.phase + piece.num_rows <= size);
    CHECK(piece.commits == (piece.phase + piece.num_rows == size));
    next += piece.num_rows;
  });
  CHECK(next == rows);
}

TEST_CASE("only tokens of the open mini-batch can be dropped") {
  CHECK(same_mini_batch(35, 32, 16));
  CHECK(same_mini_batch(35, 35, 16));
  CHECK(same_mini_batch(32, 32, 16));
  CHECK_FALSE(same_mini_batch(32, 31, 16));
  CHECK_FALSE(same_mini_batch(35, 31, 16));
  CHECK_FALSE(same_mini_batch(32, 35, 16));
  CHECK_FALSE(same_mini_batch(3, -1, 16));
}
