// SPDX-License-Identifier: Apache-2.0
// What a backend and an engine say after a kernel has failed on a real device, where no error that the
// emulator plants is needed. The process is of no use to other tests afterwards: check.sh runs this one by
// itself.
#include <catch2/catch.hpp>
#include <memory>
#include <thread>
#include <vector>

#include "cuda/cuda_backend.h"
#include "engine/engine.h"
#include "tests/cuda/device_config.h"
#include "tests/cuda/lost_device.h"
#include "tests/cuda/one_step.h"
#include "tests/cuda/primitive_kernels.h"
#include "tests/random.h"
#include "tests/random_model.h"

namespace ttt {

TEST_CASE("a kernel that fails ends what runs, and every later call says that the program must be restarted",
          "[.fault]") {
  const test::RandomModel model(test::device_config(LayerType::kTttLinear, 2, 64), 1);
  const ModelConfig& config = model.model.config;
  const std::vector<TokenId> tokens = test::Random(2).tokens(9, config.vocab_size);
  const auto idle = test::on_device(model.model), busy = test::on_device(model.model);
  idle->reset(0);
  test::step(*idle, test::read_all(0, 0, tokens));

  Engine engine(*busy, config, nullptr);
  GenerationRequest request;
  request.prompt = tokens;
  request.max_tokens = 1'000'000;
  std::vector<std::shared_ptr<TokenStream>> streams;
  for (std::size_t i = 0; i < busy->info().num_slots + 2; ++i) streams.push_back(engine.submit(request));
  while (!streams[0]->try_pop()) std::this_thread::yield();
  test::break_device();

  test::check_lost(streams);
  CHECK_THAT(engine.device_fault(), Catch::Contains("cuda:0 failed"));
  CHECK_THROWS_AS(engine.submit(request), DeviceLost);

  CHECK_THROWS_AS(idle->reset(1), DeviceLost);
  CHECK_THROWS_AS(idle->copy(0, 1, 9), DeviceLost);
  CHECK_THROWS_AS(test::saved(*idle, config, 0, 9), DeviceLost);
  CHECK_THROWS_AS(test::step(*idle, test::read_all(1, 0, tokens)), DeviceLost);
}

}  // namespace ttt
