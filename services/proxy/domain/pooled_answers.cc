#include <algorithm>
#include <array>
#include <utility>

#include "proxy/domain/pooled_statements.h"
#include "proxy/domain/wire.h"

namespace trunkline::proxy {
namespace {

constexpr size_t kMostGathered = 1 << 20;
constexpr uint64_t kFnvBasis = 14695981039346656037u;
constexpr uint64_t kFnvPrime = 1099511628211u;

// The names and types of a RowDescription's columns as a number that is not 0.
uint64_t shape_of(std::string_view body) {
  uint64_t hash = kFnvBasis;
  const auto add = [&hash](std::string_view bytes) {
    for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * kFnvPrime;
  };
  Reader reader(body);
  const unsigned count = reader.uint16();
  for (unsigned i = 0; i < count && reader.ok(); ++i) {
    add(reader.text());
    reader.bytes(6);  // its table
    add(reader.bytes(4));
    add(std::string_view("\0", 1));
    reader.bytes(8);  // size, modifier, format
  }
  return hash == 0 ? 1 : hash;
}

struct Saying {
  std::string_view theirs;
  Refusal ours;
};

// PgBouncer has one code for all that it says.
std::string said_by_pool(std::string_view report) {
  static const std::array<Saying, 5> kSayings{{
      {"server conn crashed?",
       {"57P01", "the connection to the server ended within a transaction or statement"}},
      {"query_wait_timeout",
       {"53300", "no connection of this pool became free: its transactions take too long"}},
      {"invalid server parameter",
       {"22023", "the server refused a parameter of the start-up packet"}},
      {"no more connections allowed (max_client_conn)",
       {"53300", "this pool has as many clients as it may have"}},
      {"client_idle_timeout", {"57P05", "the connection was idle for too long"}},
  }};
  if (report_field(report, 'C') != "08P01") return {};
  for (const auto& saying : kSayings) {
    if (report_field(report, 'M') == saying.theirs) return fatal(saying.ours);
  }
  return {};
}

}  // namespace

void PooledStatements::from_pool(std::string_view bytes, std::string& to_client) {
  while (!bytes.empty() && !ended_ && !broken_) {
    if (header_.size() < kHeader) {
      const size_t take = std::min(kHeader - header_.size(), bytes.size());
      header_ += bytes.substr(0, take);
      bytes.remove_prefix(take);
      if (header_.size() < kHeader) return;
      const uint32_t size = get_uint32(header_.data() + 1);
      if (size < 4) {
        broken_ = true;
        return;
      }
      answer_left_ = size - 4;
      begin_answer(header_[0]);
      if (way_ == Answer::passes) to_client += header_;
    } else {
      const size_t take = static_cast<size_t>(std::min<uint64_t>(answer_left_, bytes.size()));
      if (way_ == Answer::passes) to_client += bytes.substr(0, take);
      if (way_ == Answer::gathered) answer_ += bytes.substr(0, take);
      answer_left_ -= take;
      bytes.remove_prefix(take);
    }
    if (answer_left_ > 0) continue;
    end_answer(to_client);
    header_.clear();
    answer_.clear();
  }
}

void PooledStatements::begin_answer(char type) {
  way_ = Answer::passes;
  const bool short_enough = answer_left_ <= kMostGathered;
  switch (type) {
    case '1':
      if (waits_for(Awaited::Kind::parse) && awaited_.front().swallowed) way_ = Answer::swallowed;
      return;
    case 'n':
      if (waits_for(Awaited::Kind::describe) && awaited_.front().swallowed) {
        way_ = Answer::swallowed;
      }
      return;
    case 'T':
      if (waits_for(Awaited::Kind::describe) && short_enough) way_ = Answer::gathered;
      return;
    case 'E':
    case 'Z':
      if (short_enough) way_ = Answer::gathered;
      return;
    default:
      return;
  }
}

void PooledStatements::end_answer(std::string& to_client) {
  const auto answers = [this](Awaited::Kind kind) {
    if (waits_for(kind)) pop();
  };
  switch (header_[0]) {
    case '1':
      return answers(Awaited::Kind::parse);
    case '2':
      return answers(Awaited::Kind::bind);
    case '3':
      return answers(Awaited::Kind::close);
    case 'n':
    case 'T':
      if (waits_for(Awaited::Kind::describe)) take_description(to_client);
      return;
    case 'C':
      copying_ = false;
      return answers(Awaited::Kind::execute);
    case 'I':
    case 's':
      return answers(Awaited::Kind::execute);
    case 'G':
    case 'W':
      return begin_copy();
    case 'E':
      return take_error(to_client);
    case 'Z':
      return take_ready(to_client);
    default:
      return;
  }
}

void PooledStatements::pop() {
  awaited_.pop_front();
  while (waits_for(Awaited::Kind::copy_end)) awaited_.pop_front();
}

void PooledStatements::take_description(std::string& to_client) {
  const Awaited& asked = awaited_.front();
  const uint64_t shape = way_ == Answer::gathered ? shape_of(answer_) : 0;
  if (asked.swallowed && asked.shape != shape) {
    to_client += fatal({"08006", "the columns of a prepared statement have changed since this "
                                 "client was told of them: connect again"});
    ended_ = true;
    return;
  }
  if (!asked.swallowed && way_ == Answer::gathered) to_client += header_ + answer_;
  if (asked.described) asked.described->shape = shape;
  pop();
}

void PooledStatements::take_error(std::string& to_client) {
  const std::string_view severity = report_field(answer_, 'V');
  if (severity == "FATAL" || severity == "PANIC") {
    const std::string ours = said_by_pool(answer_);
    to_client += ours.empty() ? header_ + answer_ : ours;
    ended_ = true;
    return;
  }
  const bool ours = !awaited_.empty() && !awaited_.front().instead.sqlstate.empty();
  if (way_ == Answer::gathered) {
    to_client += ours ? error_report(awaited_.front().instead) : header_ + answer_;
  }
  if (!awaited_.empty()) roll_back();
}

// What the flight would have done from here on is not done.
void PooledStatements::roll_back() {
  copying_ = false;
  unnamed_.reset();
  undo_to(awaited_.front().undo);
  // It is gone by whatever was to replace it, too.
  if (unnamed_is_new_) set({}, nullptr);
  if (waits_for(Awaited::Kind::query)) return;
  while (!awaited_.empty() && !waits_for(Awaited::Kind::sync)) awaited_.pop_front();
  skipping_ = awaited_.empty();
  in_flight_ = !awaited_.empty();
}

void PooledStatements::undo_to(size_t mark) {
  while (undo_.size() > mark) {
    const Change change = std::move(undo_.back());
    undo_.pop_back();
    set(change.name, change.before);
    undo_.pop_back();
  }
}

// While it copies, a server throws Sync away: those behind the Execute are not answered.
void PooledStatements::begin_copy() {
  const auto end = std::find_if(awaited_.begin(), awaited_.end(), [](const Awaited& each) {
    return each.kind == Awaited::Kind::copy_end;
  });
  copying_ = end == awaited_.end();
  if (!waits_for(Awaited::Kind::execute)) return;
  const auto is_sync = [](const Awaited& each) { return each.kind == Awaited::Kind::sync; };
  awaited_.erase(std::remove_if(awaited_.begin(), end, is_sync), end);
  in_flight_ = std::any_of(awaited_.begin(), awaited_.end(), [](const Awaited& each) {
    return each.kind == Awaited::Kind::sync || each.kind == Awaited::Kind::query;
  });
}

void PooledStatements::take_ready(std::string& to_client) {
  to_client += header_ + answer_;
  while (!awaited_.empty()) {
    const bool last =
        waits_for(Awaited::Kind::sync) || waits_for(Awaited::Kind::query);
    pop();
    if (last) break;
  }
  ++flights_;
  in_flight_ = false;
  skipping_ = false;
  copying_ = false;
  undo_.clear();
  unnamed_is_new_ = false;
  if (answer_ != "I") return;
  unnamed_.reset();
  bound_ = {};
}

}  // namespace trunkline::proxy
