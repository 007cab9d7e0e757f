// SPDX-License-Identifier: Apache-2.0
#include "weights/foreign_file.h"

#include <catch2/catch.hpp>

#include "tests/weights/fixtures.h"

namespace ttt::weights {
namespace {

using namespace std::string_view_literals;

std::string advice(std::string_view prefix) {
  return refusal_of([&] { refuse_foreign_file("file", prefix); });
}

TEST_CASE("foreign file: files of other tools are named, with the way to a checkpoint") {
  CHECK(contains(advice("PK\x03\x04rest"), "a PyTorch file"));
  CHECK(contains(advice("PK\x03\x04rest"), "ttt convert"));
  CHECK(contains(advice("\x80\x02\x8a\x0al\xfc"), "a PyTorch file"));  // the stream before torch 1.6
  CHECK(contains(advice("\x80\x04\x95"), "a PyTorch file"));
  CHECK(contains(advice("\x92\x95\xa6params\xa6params"), "a JAX file"));
  CHECK(contains(advice("\x92\x91\xa4step\xc4"), "a JAX file"));
  CHECK(contains(advice("\x92\x91\xa4step\xc4"), "ttt convert file model.gguf"));
  CHECK(contains(advice("\x81\xa6params\x83"), "a JAX file of another form"));
  CHECK(contains(advice("\x10\0\0\0\0\0\0\0{\"a\""sv), "Give the folder that holds it"));
  CHECK(contains(advice("version https://git-lfs.github.com/spec/v1\noid sha256:0"), "git lfs pull"));
  CHECK(contains(advice("<!DOCTYPE html>"), "a web page"));
  CHECK(contains(advice(""), "an empty file"));
  for (const auto prefix : {"x"sv, "PK"sv, "\x80"sv, "\x92"sv, "GGML"sv, "\0\0\0\0\0\0\0\0"sv, "{}"sv}) {
    CHECK(contains(advice(prefix), "a file of another kind"));
  }
}

TEST_CASE("foreign file: only stand-ins are refused where any content may come") {
  CHECK(refusal_of([] { refuse_stand_in("file", "PK\x03\x04"); }).empty());
  CHECK(refusal_of([] { refuse_stand_in("file", "\x0a\x0e"); }).empty());
  CHECK(contains(refusal_of([] { refuse_stand_in("file", "version https://git-lfs.github.com/spec/v1\n"); }),
                 "git lfs pull"));
}

}  // namespace
}  // namespace ttt::weights
