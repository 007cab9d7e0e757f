// SPDX-License-Identifier: Apache-2.0
// A small backend that keeps the contract with a toy recurrence instead of a model, and breaks it on
// demand: it shows that the checks pass on what is right and fail on what is wrong.
#pragma once

#include <memory>
#include <string>

#include "engine/backend.h"
#include "engine/model.h"

namespace ttt::contract {

enum class Bug {
  kNone,
  // State
  kResetToZeros,
  kResetKeepsConvInputs,
  kResetKeepsOpenRows,
  kCopyAliases,
  kCopyForgetsOpenRows,
  kRewindOneShort,
  kRewindKeepsConvInputs,
  kRewindAcrossCommit,
  kRewindNeedsOwnRows,
  kSaveOmitsLastOpenRow,
  kSaveCommits,
  kLoadKeepsConvInputs,
  kLoadKeepsPhase,
  kSizeUnchecked,
  kSlotUnchecked,
  // Exactness
  kSegmentsCommit,
  kSegmentsForgetConvInputs,
  kNeighbourWritten,
  kOrderInBatchMatters,
  kThreadsMatter,
  kNanLeaks,
  kLogitsChangeState,
  kPositionIn32Bits,
  // Results
  kInfoWrong,
  kLastIsFirst,
  kStaleResults,
  kLogProbsUnnormalised,
  kTiesToHighestId,
  kSamplePositionOneShort,
  kCountsIgnored,
  kStepBansIgnored,
  kBannedIgnored,
  kAllowedIgnored,
  kLogitBiasIgnored,
  kRepetitionPenaltyIgnored,
  kPresencePenaltyIgnored,
  kFrequencyPenaltyIgnored,
  kTopKIgnored,
  kTypicalPIgnored,
  kTopPIgnored,
  kMinPIgnored,
  kTopPBeforeTypicalP,
  kMinPBeforeTopP,
  kLastSampleOfAnySlot,
  kLossesRestartWithSegment,
  kSmallResultsUseLogitsRows,
  kResetClearsResults,
  // Steps
  kAllocates,
  kCopyAllocates,
  kRulesCheckedLate,
  kLimitOneLess,
  kSecondBatchTaken,
  kSampleNeverForgotten,
};

struct FakeOptions {
  Bug bug = Bug::kNone;
  std::string skipped_rule;  // a name of submit_preconditions() that is not checked
};

std::unique_ptr<Backend> make_fake_backend(const Model& model, std::size_t num_slots,
                                           std::size_t max_batch_tokens, std::size_t max_logits_rows,
                                           std::size_t num_threads, const FakeOptions& options = {});

}  // namespace ttt::contract
