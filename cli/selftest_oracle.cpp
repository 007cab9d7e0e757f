// SPDX-License-Identifier: Apache-2.0
#include "cli/selftest_oracle.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <numbers>
#include <span>
#include <utility>

#include "weights/element_type.h"

namespace ttt::cli {
namespace {

using Vector = Float64Model::Vector;
using View = std::span<const double>;

constexpr double kLayerNormEpsilon = 1e-6;

Vector doubles_of(const weights::TensorView& tensor) {
  if (tensor.bytes.empty()) return {};
  std::vector<float> values(*weights::num_elements(tensor.shape));
  weights::to_floats(tensor.dtype, tensor.bytes, values);
  return {values.begin(), values.end()};
}

View part(const Vector& whole, std::size_t index, std::size_t size) {
  return View(whole).subspan(index * size, size);
}

Vector copy(View x) { return {x.begin(), x.end()}; }

double dot(View a, View b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

void add_scaled(std::span<double> sum, double scale, View x) {
  for (std::size_t i = 0; i < x.size(); ++i) sum[i] += scale * x[i];
}

// A x: the checkpoint's matrices [out, in], of which each row meets x.
Vector times(const Vector& matrix, View x) {
  Vector y(matrix.size() / x.size());
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = dot(part(matrix, i, x.size()), x);
  return y;
}

// x W + b: the inner model's matrices [in, out].
Vector affine(View x, const Vector& W, const Vector& b) {
  Vector y = b;
  for (std::size_t i = 0; i < x.size(); ++i) add_scaled(y, x[i], part(W, i, y.size()));
  return y;
}

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// tanh form, and its derivative
double gelu_tanh(double x) {
  return std::tanh(std::sqrt(2.0 * std::numbers::inv_pi) * (x + 0.044715 * x * x * x));
}
double gelu(double x) { return 0.5 * x * (1.0 + gelu_tanh(x)); }
double gelu_slope(double x) {
  const double t = gelu_tanh(x);
  const double inside = std::sqrt(2.0 * std::numbers::inv_pi) * (1.0 + 3.0 * 0.044715 * x * x);
  return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inside;
}

Vector map(Vector x, double (*function)(double)) {
  std::ranges::transform(x, x.begin(), function);
  return x;
}

Vector rms_norm(View x, View gain, double epsilon) {
  const double scale = 1.0 / std::sqrt(dot(x, x) / static_cast<double>(x.size()) + epsilon);
  Vector y(x.size());
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = x[i] * scale * gain[i];
  return y;
}

// (z - mean) / s, biased variance. `deviation`: s
Vector standardised(View z, double& deviation) {
  const auto n = static_cast<double>(z.size());
  double mean = 0.0, variance = 0.0;
  for (const double value : z) mean += value / n;
  for (const double value : z) variance += (value - mean) * (value - mean) / n;
  deviation = std::sqrt(variance + kLayerNormEpsilon);
  Vector y;
  for (const double value : z) y.push_back((value - mean) / deviation);
  return y;
}

Vector layer_norm(View z, View gain, View bias) {
  double deviation = 0.0;
  Vector y = standardised(z, deviation);
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = gain[i] * y[i] + bias[i];
  return y;
}

// Gradient of 1/2 |N(z) - target|^2 by z.
Vector loss_gradient(View z, View target, View gain, View bias) {
  double deviation = 0.0;
  const Vector z_hat = standardised(z, deviation);
  const auto n = static_cast<double>(z.size());
  Vector e(z.size());
  double mean = 0.0;
  for (std::size_t i = 0; i < e.size(); ++i) {
    e[i] = gain[i] * (gain[i] * z_hat[i] + bias[i] - target[i]);
    mean += e[i] / n;
  }
  const double along = dot(e, z_hat) / n;
  for (std::size_t i = 0; i < e.size(); ++i) e[i] = (e[i] - mean - z_hat[i] * along) / deviation;
  return e;
}

// Depthwise and causal, for the last of `rows`; the last of the taps [d, c] meets it.
Vector conv(const std::vector<Vector>& rows, const Vector& taps, const Vector& bias) {
  const std::size_t width = bias.size(), c = taps.size() / width;
  Vector y = bias;
  for (std::size_t ch = 0; ch < width; ++ch) {
    for (std::size_t j = 0; j < c; ++j) y[ch] += taps[ch * c + j] * rows[rows.size() - c + j][ch];
  }
  return y;
}

// matrix -= scale * column^T row
void subtract_outer(Vector& matrix, double scale, View column, View row) {
  for (std::size_t i = 0; i < column.size(); ++i) {
    add_scaled(std::span(matrix).subspan(i * row.size(), row.size()), -scale * column[i], row);
  }
}

}  // namespace

bool is_float_model(const Model& model) {
  return std::ranges::all_of(list_tensors(model), [](const NamedTensor& tensor) {
    return weights::dtype_info(tensor.view.dtype).block_elements == 1;
  });
}

Float64Model::Float64Model(const Model& model)
    : config_(model.config),
      embedding_(doubles_of(model.token_embd)),
      output_norm_(doubles_of(model.output_norm)),
      output_(doubles_of(model.output)) {
  for (const LayerWeights& weights : model.layers) layers_.push_back(copy_of(weights));
}

Float64Model::Layer Float64Model::copy_of(const LayerWeights& w) const {
  Layer layer;
  const std::initializer_list<std::pair<Vector*, const weights::TensorView*>> copies = {
      {&layer.pre_conv_norm, &w.pre_conv_norm},
      {&layer.pre_conv_weight, &w.pre_conv_weight},
      {&layer.pre_conv_bias, &w.pre_conv_bias},
      {&layer.attn_norm, &w.attn_norm},
      {&layer.attn_q, &w.attn_q},
      {&layer.attn_k, &w.attn_k},
      {&layer.attn_v, &w.attn_v},
      {&layer.gate, &w.gate},
      {&layer.attn_output, &w.attn_output},
      {&layer.conv_q_weight, &w.conv_q_weight},
      {&layer.conv_q_bias, &w.conv_q_bias},
      {&layer.conv_k_weight, &w.conv_k_weight},
      {&layer.conv_k_bias, &w.conv_k_bias},
      {&layer.lr_weight, &w.lr_weight},
      {&layer.lr_bias, &w.lr_bias},
      {&layer.token_idx, &w.token_idx},
      {&layer.inner_norm_weight, &w.inner_norm_weight},
      {&layer.inner_norm_bias, &w.inner_norm_bias},
      {&layer.post_norm_weight, &w.post_norm_weight},
      {&layer.post_norm_bias, &w.post_norm_bias},
      {&layer.ffn_norm, &w.ffn_norm},
      {&layer.ffn_gate, &w.ffn_gate},
      {&layer.ffn_up, &w.ffn_up},
      {&layer.ffn_down, &w.ffn_down}};
  for (const auto& [to, from] : copies) *to = doubles_of(*from);
  const Vector W1 = doubles_of(w.inner_1_weight), b1 = doubles_of(w.inner_1_bias);
  const Vector W2 = doubles_of(w.inner_2_weight), b2 = doubles_of(w.inner_2_bias);
  const std::size_t H = config_.num_attention_heads;
  for (std::size_t head = 0; head < H; ++head) {
    layer.committed.push_back({copy(part(W1, head, W1.size() / H)), copy(part(b1, head, b1.size() / H)),
                               copy(part(W2, head, W2.size() / H)), copy(part(b2, head, b2.size() / H))});
  }
  layer.open.resize(H);
  layer.pre_conv_inputs.assign(config_.conv_kernel - 1, Vector(config_.hidden_size));
  layer.qk_conv_inputs = layer.pre_conv_inputs;
  return layer;
}

Vector Float64Model::read(tokenizer::TokenId token) {
  const auto epsilon = static_cast<double>(config_.rms_norm_eps);
  Vector x = copy(part(embedding_, static_cast<std::size_t>(token), config_.hidden_size));
  for (Layer& layer : layers_) {
    if (config_.pre_conv) {
      layer.pre_conv_inputs.push_back(rms_norm(x, layer.pre_conv_norm, epsilon));
      add_scaled(x, 1.0, conv(layer.pre_conv_inputs, layer.pre_conv_weight, layer.pre_conv_bias));
    }
    add_scaled(x, 1.0, mixer(layer, rms_norm(x, layer.attn_norm, epsilon)));
    const Vector u = rms_norm(x, layer.ffn_norm, epsilon);
    Vector gated = times(layer.ffn_gate, u);
    const Vector up = times(layer.ffn_up, u);
    for (std::size_t i = 0; i < gated.size(); ++i) gated[i] *= sigmoid(gated[i]) * up[i];
    add_scaled(x, 1.0, times(layer.ffn_down, gated));
  }
  ++position_;
  return times(output_, rms_norm(x, output_norm_, epsilon));
}

// Adjacent pairs, turned by the phase.
Vector Float64Model::rope(Vector x) const {
  for (std::size_t i = 0; i < x.size(); i += 2) {
    const double exponent = -static_cast<double>(i) / static_cast<double>(x.size());
    const double angle =
        static_cast<double>(phase()) * std::pow(static_cast<double>(config_.rope_theta), exponent);
    const double a = x[i], b = x[i + 1];
    x[i] = a * std::cos(angle) - b * std::sin(angle);
    x[i + 1] = a * std::sin(angle) + b * std::cos(angle);
  }
  return x;
}

Vector Float64Model::mixer(Layer& layer, const Vector& h) const {
  const std::size_t f = config_.head_size(), H = config_.num_attention_heads;
  Vector q = times(layer.attn_q, h), k;
  if (config_.share_qk) {
    layer.qk_conv_inputs.push_back(q);
    q = conv(layer.qk_conv_inputs, layer.conv_q_weight, layer.conv_q_bias);
    k = conv(layer.qk_conv_inputs, layer.conv_k_weight, layer.conv_k_bias);
  } else {
    k = times(layer.attn_k, h);
  }
  const Vector v = times(layer.attn_v, h);
  const Vector rate = times(layer.lr_weight, h);  // [H]
  Vector merged;
  for (std::size_t head = 0; head < H; ++head) {
    const double alpha = static_cast<double>(config_.ttt_base_lr) / static_cast<double>(f) *
                         sigmoid(rate[head] + layer.lr_bias[head]);
    const Vector output = head_output(layer, head, rope(copy(part(q, head, f))), rope(copy(part(k, head, f))),
                                      copy(part(v, head, f)), alpha);
    merged.insert(merged.end(), output.begin(), output.end());
  }
  merged = layer_norm(merged, layer.post_norm_weight, layer.post_norm_bias);
  if (config_.use_gate) {
    const Vector gate = map(times(layer.gate, h), gelu);
    for (std::size_t i = 0; i < merged.size(); ++i) merged[i] *= gate[i];
  }
  return times(layer.attn_output, merged);
}

// Learns from (k, v) at the committed fast weights, then answers q through W<phase>.
Vector Float64Model::head_output(Layer& layer, std::size_t head, const Vector& q, const Vector& k,
                                 const Vector& v, double alpha) const {
  const std::size_t f = config_.head_size(), i = phase();
  const View gain = part(layer.inner_norm_weight, head, f), bias = part(layer.inner_norm_bias, head, f);
  Inner& inner = layer.committed[head];
  std::vector<Example>& examples = layer.open[head];
  Vector target = v;
  add_scaled(target, -1.0, k);
  const Vector a = affine(k, inner.W1, inner.b1);
  Example example;
  example.key = k;
  if (config_.is_mlp()) {
    example.hidden = map(a, gelu);
    const Vector z = affine(example.hidden, inner.W2, inner.b2);
    example.gradient_2 = loss_gradient(z, target, gain, bias);
    for (double& value : example.gradient_2) value *= alpha;
    example.gradient_1 = times(inner.W2, example.gradient_2);
    for (std::size_t j = 0; j < a.size(); ++j) example.gradient_1[j] *= gelu_slope(a[j]);
  } else {
    example.gradient_1 = loss_gradient(a, target, gain, bias);
    for (double& value : example.gradient_1) value *= alpha;
  }
  examples.push_back(std::move(example));
  const double token_eta = std::max(0.0, 1.0 / static_cast<double>(i + 1) + layer.token_idx[i]);
  const Inner now = taught(inner, examples, token_eta);
  Vector answer = affine(q, now.W1, now.b1);
  if (config_.is_mlp()) answer = affine(map(answer, gelu), now.W2, now.b2);
  answer = layer_norm(answer, gain, bias);
  add_scaled(answer, 1.0, q);
  if (i + 1 == config_.mini_batch_size) {  // the commit
    inner = now;
    examples.clear();
  }
  return answer;
}

// inner - token_eta * the sum of the examples' weight gradients
Float64Model::Inner Float64Model::taught(const Inner& inner, const std::vector<Example>& examples,
                                         double token_eta) {
  Inner result = inner;
  for (const Example& example : examples) {
    subtract_outer(result.W1, token_eta, example.key, example.gradient_1);
    add_scaled(result.b1, -token_eta, example.gradient_1);
    subtract_outer(result.W2, token_eta, example.hidden, example.gradient_2);
    add_scaled(result.b2, -token_eta, example.gradient_2);
  }
  return result;
}

Vector Float64Model::state() const {
  Vector all;
  const auto append = [&](const Vector& more) { all.insert(all.end(), more.begin(), more.end()); };
  const std::size_t rows = config_.conv_kernel - 1 + phase();
  for (const Layer& layer : layers_) {
    for (const auto& [present, inputs] : {std::pair{config_.pre_conv, &layer.pre_conv_inputs},
                                          std::pair{config_.share_qk, &layer.qk_conv_inputs}}) {
      for (std::size_t i = present ? inputs->size() - rows : inputs->size(); i < inputs->size(); ++i) {
        append((*inputs)[i]);
      }
    }
    for (const auto member : {&Inner::W1, &Inner::b1, &Inner::W2, &Inner::b2}) {
      for (const Inner& inner : layer.committed) append(inner.*member);
    }
    for (std::size_t row = 0; row < phase(); ++row) {
      for (const auto member :
           {&Example::key, &Example::hidden, &Example::gradient_1, &Example::gradient_2}) {
        for (const auto& examples : layer.open) append(examples[row].*member);
      }
    }
  }
  return all;
}

}  // namespace ttt::cli
