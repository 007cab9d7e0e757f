// SPDX-License-Identifier: Apache-2.0
#include "tests/naive.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>
#include <utility>

namespace ttt::naive {
namespace {

constexpr double kLayerNormEpsilon = 1e-6;
constexpr double kGeluCubic = 0.044715;
const double kGeluScale = std::sqrt(2.0 / std::acos(-1.0));

// The double that prints like `value`: 0.1 for 0.1F.
double as_written(float value) {
  std::stringstream text;
  text << value;
  double result = 0.0;
  text >> result;
  return result;
}

double mean(View x) { return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size()); }

Vector plus(View a, View b) {
  Vector sum(a.begin(), a.end());
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += b[i];
  return sum;
}

// A - scale * B
Vector minus_scaled(View a, double scale, View b) {
  Vector result(a.begin(), a.end());
  for (std::size_t i = 0; i < result.size(); ++i) result[i] -= scale * b[i];
  return result;
}

// matrix += column^T row
void add_outer_product(std::span<double> matrix, View column, View row) {
  for (std::size_t i = 0; i < column.size(); ++i) {
    for (std::size_t j = 0; j < row.size(); ++j) matrix[i * row.size() + j] += column[i] * row[j];
  }
}

void add(std::span<double> sum, View x) {
  for (std::size_t i = 0; i < x.size(); ++i) sum[i] += x[i];
}

void append(Vector& all, View more) { all.insert(all.end(), more.begin(), more.end()); }

double deviation(View z) {
  const double center = mean(z);
  double sum = 0.0;
  for (const double value : z) sum += (value - center) * (value - center);
  return std::sqrt(sum / static_cast<double>(z.size()) + kLayerNormEpsilon);
}

}  // namespace

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

double silu(double x) { return x * sigmoid(x); }

double gelu(double x) { return 0.5 * x * (1.0 + std::tanh(kGeluScale * (x + kGeluCubic * x * x * x))); }

double gelu_derivative(double x) {
  const double t = std::tanh(kGeluScale * (x + kGeluCubic * x * x * x));
  return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * kGeluScale * (1.0 + 3.0 * kGeluCubic * x * x);
}

Vector product(View x, View matrix) {
  Vector y(matrix.size() / x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    for (std::size_t j = 0; j < y.size(); ++j) y[j] += x[i] * matrix[i * y.size() + j];
  }
  return y;
}

Vector product_transposed(View x, View matrix) {
  Vector y(matrix.size() / x.size());
  for (std::size_t j = 0; j < y.size(); ++j) {
    for (std::size_t i = 0; i < x.size(); ++i) y[j] += x[i] * matrix[j * x.size() + i];
  }
  return y;
}

Vector rms_norm(View x, View gain, double epsilon) {
  double sum = 0.0;
  for (const double value : x) sum += value * value;
  const double scale = 1.0 / std::sqrt(sum / static_cast<double>(x.size()) + epsilon);
  Vector y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = x[i] * scale * gain[i];
  return y;
}

Vector layer_norm(View z, View gain, View bias) {
  const double center = mean(z);
  const double s = deviation(z);
  Vector y(z.size());
  for (std::size_t i = 0; i < z.size(); ++i) y[i] = gain[i] * (z[i] - center) / s + bias[i];
  return y;
}

Vector inner_gradient(View z, View target, View gain, View bias) {
  const double center = mean(z);
  const double s = deviation(z);
  const Vector normed = layer_norm(z, gain, bias);
  Vector z_hat(z.size()), e(z.size()), e_z_hat(z.size());
  for (std::size_t i = 0; i < z.size(); ++i) {
    z_hat[i] = (z[i] - center) / s;
    e[i] = gain[i] * (normed[i] - target[i]);
    e_z_hat[i] = e[i] * z_hat[i];
  }
  const double mean_e = mean(e);
  const double mean_e_z_hat = mean(e_z_hat);
  Vector delta(z.size());
  for (std::size_t i = 0; i < z.size(); ++i) delta[i] = (e[i] - mean_e - z_hat[i] * mean_e_z_hat) / s;
  return delta;
}

Vector conv(const std::vector<Vector>& inputs, View weight, View bias) {
  const std::size_t kernel = weight.size() / bias.size();
  Vector y(bias.begin(), bias.end());
  for (std::size_t tap = 0; tap < kernel; ++tap) {
    const std::size_t age = kernel - 1 - tap;  // the last tap meets the newest row
    if (age >= inputs.size()) continue;        // before the sequence: zero
    const Vector& row = inputs[inputs.size() - 1 - age];
    for (std::size_t channel = 0; channel < y.size(); ++channel) {
      y[channel] += weight[channel * kernel + tap] * row[channel];
    }
  }
  return y;
}

Vector rope(View x, std::size_t position, double theta) {
  Vector y(x.size());
  for (std::size_t i = 0; i < x.size(); i += 2) {
    const double exponent = -static_cast<double>(i) / static_cast<double>(x.size());
    const double angle = static_cast<double>(position) * std::pow(theta, exponent);
    y[i] = x[i] * std::cos(angle) - x[i + 1] * std::sin(angle);
    y[i + 1] = x[i] * std::sin(angle) + x[i + 1] * std::cos(angle);
  }
  return y;
}

Vector log_softmax(View logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const double logit : logits) sum += std::exp(logit - largest);
  Vector result;
  for (const double logit : logits) result.push_back(logit - largest - std::log(sum));
  return result;
}

NaiveModel::NaiveModel(ModelConfig config, Tensors tensors)
    : config_(std::move(config)),
      tensors_(std::move(tensors)),
      base_lr_(as_written(config_.ttt_base_lr)),
      rms_norm_eps_(as_written(config_.rms_norm_eps)) {
  const auto copy = [](View view) { return Vector(view.begin(), view.end()); };
  for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
    LayerState& state = layers_.emplace_back();
    state.W1 = copy(tensor(layer, "seq_modeling_block.W1"));
    state.b1 = copy(tensor(layer, "seq_modeling_block.b1"));
    state.G1.resize(state.W1.size());
    state.gb1.resize(state.b1.size());
    if (!config_.is_mlp()) continue;
    state.W2 = copy(tensor(layer, "seq_modeling_block.W2"));
    state.b2 = copy(tensor(layer, "seq_modeling_block.b2"));
    state.G2.resize(state.W2.size());
    state.gb2.resize(state.b2.size());
  }
}

View NaiveModel::tensor(const std::string& name) const { return tensors_.at(name); }

View NaiveModel::tensor(std::size_t layer, const std::string& name) const {
  return tensors_.at("model.layers." + std::to_string(layer) + "." + name);
}

View NaiveModel::head_of(View tensor, std::size_t head) const {
  const std::size_t size = tensor.size() / config_.num_attention_heads;
  return tensor.subspan(head * size, size);
}

Vector NaiveModel::read(tokenizer::TokenId token) {
  const View embedding = tensor("model.embed_tokens.weight");
  const View row =
      embedding.subspan(static_cast<std::size_t>(token) * config_.hidden_size, config_.hidden_size);
  Vector x(row.begin(), row.end());
  for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) x = block(layer, std::move(x));
  ++position_;
  const View head = config_.tie_word_embeddings ? embedding : tensor("lm_head.weight");
  return product_transposed(rms_norm(x, tensor("model.norm.weight"), rms_norm_eps_), head);
}

Vector NaiveModel::read_all(std::span<const tokenizer::TokenId> tokens) {
  Vector logits;
  for (const tokenizer::TokenId token : tokens) append(logits, read(token));
  return logits;
}

Vector NaiveModel::block(std::size_t layer, Vector x) {
  if (config_.pre_conv) {
    std::vector<Vector>& inputs = layers_[layer].pre_conv_inputs;
    inputs.push_back(rms_norm(x, tensor(layer, "conv.norm.weight"), rms_norm_eps_));
    x = plus(x, conv(inputs, tensor(layer, "conv.conv.weight"), tensor(layer, "conv.conv.bias")));
  }
  x = plus(x, ttt_layer(layer, rms_norm(x, tensor(layer, "seq_norm.weight"), rms_norm_eps_)));
  return plus(x, feed_forward(layer, rms_norm(x, tensor(layer, "ffn_norm.weight"), rms_norm_eps_)));
}

Vector NaiveModel::feed_forward(std::size_t layer, const Vector& x) const {
  Vector gate = product_transposed(x, tensor(layer, "mlp.gate_proj.weight"));
  const Vector up = product_transposed(x, tensor(layer, "mlp.up_proj.weight"));
  for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = silu(gate[i]) * up[i];
  return product_transposed(gate, tensor(layer, "mlp.down_proj.weight"));
}

double NaiveModel::token_eta(std::size_t layer, std::size_t slot) const {
  const double learned = tensor(layer, "seq_modeling_block.learnable_token_idx")[slot];
  return std::max(0.0, 1.0 / static_cast<double>(slot + 1) + learned);
}

Vector NaiveModel::ttt_layer(std::size_t layer, const Vector& h) {
  const auto weight = [&](const std::string& name) { return tensor(layer, "seq_modeling_block." + name); };
  LayerState& state = layers_[layer];
  const std::size_t slot = position_ % config_.mini_batch_size;
  Vector q = product_transposed(h, weight("q_proj.weight"));
  Vector k;
  if (config_.share_qk) {
    state.qk_conv_inputs.push_back(q);
    q = conv(state.qk_conv_inputs, weight("conv_q.weight"), weight("conv_q.bias"));
    k = conv(state.qk_conv_inputs, weight("conv_k.weight"), weight("conv_k.bias"));
  } else {
    k = product_transposed(h, weight("k_proj.weight"));
  }
  const Vector v = product_transposed(h, weight("v_proj.weight"));

  Vector merged;
  OpenRow row;
  for (std::size_t head = 0; head < config_.num_attention_heads; ++head) {
    const double gate = product_transposed(h, head_of(weight("learnable_ttt_lr_weight"), head))[0];
    const double alpha = base_lr_ / static_cast<double>(config_.head_size()) *
                         sigmoid(gate + weight("learnable_ttt_lr_bias")[head]);
    const Vector q_head = rope(head_of(q, head), slot, config_.rope_theta);
    const Vector k_head = rope(head_of(k, head), slot, config_.rope_theta);
    append(merged, inner_step(layer, head, q_head, k_head, head_of(v, head), alpha, row));
  }
  state.open_rows.push_back(std::move(row));
  if (slot + 1 == config_.mini_batch_size) commit(layer);

  Vector out = layer_norm(merged, weight("post_norm.weight"), weight("post_norm.bias"));
  if (config_.use_gate) {
    const Vector gate = product_transposed(h, weight("g_proj.weight"));
    for (std::size_t i = 0; i < out.size(); ++i) out[i] *= gelu(gate[i]);
  }
  return product_transposed(out, weight("o_proj.weight"));
}

// The inner loop of one head: learns from (k, v) at the committed weights, then answers q with W<slot>.
Vector NaiveModel::inner_step(std::size_t layer, std::size_t head, View q, View k, View v, double alpha,
                              OpenRow& row) {
  LayerState& state = layers_[layer];
  const View gain = head_of(tensor(layer, "seq_modeling_block.ttt_norm_weight"), head);
  const View bias = head_of(tensor(layer, "seq_modeling_block.ttt_norm_bias"), head);
  const double tau = token_eta(layer, position_ % config_.mini_batch_size);
  const auto mine = [&](Vector& whole) {
    const std::size_t size = whole.size() / config_.num_attention_heads;
    return std::span<double>(whole).subspan(head * size, size);
  };
  const std::span<double> W1 = mine(state.W1), b1 = mine(state.b1), W2 = mine(state.W2), b2 = mine(state.b2);
  const std::span<double> G1 = mine(state.G1), gb1 = mine(state.gb1), G2 = mine(state.G2),
                          gb2 = mine(state.gb2);

  const Vector target = minus_scaled(v, 1.0, k);
  const Vector a = plus(product(k, W1), b1);
  Vector hidden(a.size());
  std::transform(a.begin(), a.end(), hidden.begin(), gelu);
  const Vector z = config_.is_mlp() ? plus(product(hidden, W2), b2) : a;
  double loss = 0.0;
  const Vector error = minus_scaled(layer_norm(z, gain, bias), 1.0, target);
  for (const double value : error) loss += 0.5 * value * value;
  inner_losses_.push_back(loss);

  Vector delta_2 = inner_gradient(z, target, gain, bias);
  Vector delta_1 = delta_2;
  if (config_.is_mlp()) {
    delta_1 = product_transposed(delta_2, W2);
    for (std::size_t i = 0; i < a.size(); ++i) delta_1[i] *= gelu_derivative(a[i]);
  }
  for (double& value : delta_1) value *= alpha;
  for (double& value : delta_2) value *= alpha;
  append(row.key, k);
  append(row.gradient_1, delta_1);
  add_outer_product(G1, k, delta_1);
  add(gb1, delta_1);
  const Vector Z1 = plus(product(q, minus_scaled(W1, tau, G1)), minus_scaled(b1, tau, gb1));
  if (!config_.is_mlp()) return plus(q, layer_norm(Z1, gain, bias));

  append(row.hidden, hidden);
  append(row.gradient_2, delta_2);
  add_outer_product(G2, hidden, delta_2);
  add(gb2, delta_2);
  Vector X2(Z1.size());
  std::transform(Z1.begin(), Z1.end(), X2.begin(), gelu);
  const Vector Z2 = plus(product(X2, minus_scaled(W2, tau, G2)), minus_scaled(b2, tau, gb2));
  return plus(q, layer_norm(Z2, gain, bias));
}

void NaiveModel::commit(std::size_t layer) {
  LayerState& state = layers_[layer];
  const double tau = token_eta(layer, config_.mini_batch_size - 1);
  for (const auto& [weights, gradient] :
       {std::pair{&state.W1, &state.G1}, std::pair{&state.b1, &state.gb1}, std::pair{&state.W2, &state.G2},
        std::pair{&state.b2, &state.gb2}}) {
    *weights = minus_scaled(*weights, tau, *gradient);
    std::fill(gradient->begin(), gradient->end(), 0.0);
  }
  state.open_rows.clear();
}

Vector NaiveModel::canonical_state() const {
  Vector all;
  const std::size_t rows = config_.conv_kernel - 1 + position_ % config_.mini_batch_size;
  const auto append_last_rows = [&](const std::vector<Vector>& inputs) {
    for (std::size_t age = rows; age > 0; --age) {
      append(all, age > inputs.size() ? Vector(config_.hidden_size) : inputs[inputs.size() - age]);
    }
  };
  for (const LayerState& layer : layers_) {
    if (config_.pre_conv) append_last_rows(layer.pre_conv_inputs);
    if (config_.share_qk) append_last_rows(layer.qk_conv_inputs);
    for (const Vector* weights : {&layer.W1, &layer.b1, &layer.W2, &layer.b2}) append(all, *weights);
    for (const OpenRow& row : layer.open_rows) {
      for (const Vector* part : {&row.key, &row.hidden, &row.gradient_1, &row.gradient_2}) append(all, *part);
    }
  }
  return all;
}

}  // namespace ttt::naive
