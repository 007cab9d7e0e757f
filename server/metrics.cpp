// SPDX-License-Identifier: Apache-2.0
#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <unistd.h>

#include <cstdio>

#include "server/routes.h"

namespace ttt::server {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using Buckets = Histogram::BucketBoundaries;

const Buckets kSeconds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                          1,     2.5,    5,     10,   25,    50,   100, 250,  1000};
const Buckets kTokens = {1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576};

// Only what there is, so that strangers cannot make label values.
std::string route_of(std::string_view path) {
  const Route* const route = find_route(path);
  return route == nullptr ? "other" : route->pattern();
}

std::string method_of(std::string_view method) {
  for (const std::string_view known : {"GET", "POST", "DELETE", "HEAD", "OPTIONS"}) {
    if (method == known) return std::string(known);
  }
  return "other";
}

double resident_bytes() {
  std::FILE* const file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return 0.0;
  long long total = 0, resident = 0;
  const int read = std::fscanf(file, "%lld %lld", &total, &resident);
  std::fclose(file);
  return read == 2 ? static_cast<double>(resident) * static_cast<double>(::sysconf(_SC_PAGESIZE)) : 0.0;
}

}  // namespace

struct Metrics::Impl {
  prometheus::Registry registry;

  Family<Counter>& http_requests =
      BuildCounter().Name("ttt:http_requests_total").Help("Answers, by route and status").Register(registry);
  Family<Counter>& finished = BuildCounter()
                                  .Name("ttt:request_success_total")
                                  .Help("Choices that ended, by reason")
                                  .Register(registry);
  Counter& prompt_tokens = counter("ttt:prompt_tokens_total", "Tokens of prompts read");
  Counter& generation_tokens = counter("ttt:generation_tokens_total", "Tokens drawn");
  Gauge& running = gauge("ttt:num_requests_running", "Requests in slots");
  Gauge& waiting = gauge("ttt:num_requests_waiting", "Requests that wait for slots");
  Gauge& resident = gauge("process_resident_memory_bytes", "Resident memory");
  Histogram& first_token =
      histogram("ttt:time_to_first_token_seconds", "From submission to the first token", kSeconds);
  Histogram& per_token = histogram("ttt:inter_token_latency_seconds",
                                   "Between two tokens of a choice; best_of not counted", kSeconds);
  Histogram& whole =
      histogram("ttt:e2e_request_latency_seconds", "From submission to the end of a choice", kSeconds);
  Histogram& queued = histogram("ttt:request_queue_time_seconds", "From submission to a slot", kSeconds);
  Histogram& prefill = histogram("ttt:request_prefill_time_seconds", "Reading the prompt", kSeconds);
  Histogram& decode = histogram("ttt:request_decode_time_seconds", "Writing", kSeconds);
  Histogram& request_prompt = histogram("ttt:request_prompt_tokens", "Tokens of a prompt", kTokens);
  Histogram& request_output = histogram("ttt:request_generation_tokens", "Tokens of a choice", kTokens);

  Counter& counter(const char* name, const char* help) {
    return BuildCounter().Name(name).Help(help).Register(registry).Add({});
  }
  Gauge& gauge(const char* name, const char* help) {
    return BuildGauge().Name(name).Help(help).Register(registry).Add({});
  }
  Histogram& histogram(const char* name, const char* help, const Buckets& buckets) {
    return BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
  }
};

Metrics::Metrics(const ServedModel& model) : impl_(std::make_unique<Impl>()) {
  impl_->gauge("ttt:state_slots_total", "Sequences that can run at once")
      .Set(static_cast<double>(model.slots));
  impl_->gauge("ttt:state_bytes_per_sequence", "Memory of a sequence's state")
      .Set(static_cast<double>(model.slot_bytes));
  impl_->gauge("process_start_time_seconds", "Unix time of the start")
      .Set(static_cast<double>(model.created));
}

void Metrics::set_build_info(const ServedModel& model) {
  BuildGauge()
      .Name("ttt:build_info")
      .Help("This program")
      .Register(impl_->registry)
      .Add({{"version", model.version}, {"backend", model.device}, {"weights", model.weights_hash}})
      .Set(1.0);
}

Metrics::~Metrics() = default;

void Metrics::http_request(std::string_view path, std::string_view method, unsigned status) {
  impl_->http_requests
      .Add({{"handler", route_of(path)}, {"method", method_of(method)}, {"status", std::to_string(status)}})
      .Increment();
}

void Metrics::choice_finished(const Finish& finish, std::size_t prompt_tokens, std::size_t completion_tokens,
                              bool is_first_choice) {
  impl_->finished.Add({{"finished_reason", std::string(to_string(finish.reason))}}).Increment();
  const RequestTimes& times = finish.times;
  impl_->whole.Observe(times.queued + times.prefill + times.decode);
  impl_->request_output.Observe(static_cast<double>(completion_tokens));
  impl_->decode.Observe(times.decode);
  if (!is_first_choice) return;
  impl_->first_token.Observe(times.queued + times.prefill);
  impl_->queued.Observe(times.queued);
  impl_->prefill.Observe(times.prefill);
  impl_->request_prompt.Observe(static_cast<double>(prompt_tokens));
}

void Metrics::tokens_generated(std::size_t count) {
  impl_->generation_tokens.Increment(static_cast<double>(count));
}

void Metrics::tokens_followed(double seconds, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) impl_->per_token.Observe(seconds / static_cast<double>(count));
}

void Metrics::prompt_tokens_read(std::size_t count) {
  impl_->prompt_tokens.Increment(static_cast<double>(count));
}

std::string Metrics::text(const Engine::Load& load) const {
  impl_->running.Set(static_cast<double>(load.running));
  impl_->waiting.Set(static_cast<double>(load.waiting));
  impl_->resident.Set(resident_bytes());
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace ttt::server
