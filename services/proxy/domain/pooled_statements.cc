#include "proxy/domain/pooled_statements.h"

#include <algorithm>
#include <utility>

#include "proxy/domain/wire.h"

namespace trunkline::proxy {
namespace {

constexpr size_t kFirstLook = 256;       // of a Bind: its names
constexpr size_t kMostNames = 16 * 1024;
// No server knows a statement of this name: asking for it is an error, at the right place.
constexpr char kNoStatement[] = "S trunkline: refused";
constexpr size_t kMostAwaited = 4'000;   // a server's answers that it has not sent are fewer
constexpr size_t kMostChanges = 10'000;  // of one flight
constexpr size_t kKeptCapacity = 4'096;
constexpr char kNoQuery[] = "trunkline_refuses_this_at_the_pooled_port";

std::string_view body_of(const std::string& message) {
  return std::string_view(message).substr(kHeader);
}

std::string described(char kind, std::string_view name) {
  std::string body(1, kind);
  body += name;
  body.push_back('\0');
  return message('D', body);
}

void put_header(std::string& out, char type, uint64_t body_size) {
  out.push_back(type);
  put_uint32(out, static_cast<uint32_t>(body_size + 4));
}

Refusal no_such(std::string_view name) {
  if (name.empty()) return {"26000", "unnamed prepared statement does not exist"};
  return {"26000", "prepared statement \"" + std::string(name) + "\" does not exist"};
}

}  // namespace

PooledStatements::PooledStatements(StatementTexts& texts, PooledLimits limits)
    : texts_(texts), limits_(limits) {}

size_t PooledStatements::from_client(std::string_view bytes, std::string& to_pool) {
  const size_t all = bytes.size();
  while (!bytes.empty() && !broken_) {
    if (uint64_t& left = pass_left_ > 0 ? pass_left_ : skip_left_; left > 0) {
      const size_t take = static_cast<size_t>(std::min<uint64_t>(left, bytes.size()));
      if (&left == &pass_left_) to_pool += bytes.substr(0, take);
      left -= take;
      bytes.remove_prefix(take);
      continue;
    }
    if (message_.empty() && !may_begin(bytes[0])) break;
    const size_t take = std::min(wanted() - message_.size(), bytes.size());
    message_ += bytes.substr(0, take);
    bytes.remove_prefix(take);
    if (message_.size() < kHeader || message_.size() < wanted()) continue;
    if (get_uint32(message_.data() + 1) < 4) {
      broken_ = true;
      break;
    }
    take_message(to_pool);
  }
  return all - bytes.size();
}

bool PooledStatements::may_begin(char type) const {
  if (!in_flight_) return awaited_.size() < kMostAwaited;
  return copying_ && (type == 'd' || type == 'c' || type == 'f' || type == 'S' || type == 'H');
}

// How much of the message is to be gathered before it is looked at.
size_t PooledStatements::wanted() const {
  if (message_.size() < kHeader) return kHeader;
  const size_t whole = size_t{get_uint32(message_.data() + 1)} + 1;
  size_t most = kHeader;
  switch (message_[0]) {
    case 'P':
    case 'Q':
      most = limits_.a_message;
      break;
    case 'D':
    case 'E':
    case 'C':
      most = kMostNames;
      break;
    case 'B': {
      const std::string_view body = body_of(message_);
      const size_t portal_end = body.find('\0');
      const bool has_names = portal_end != std::string_view::npos &&
                             body.find('\0', portal_end + 1) != std::string_view::npos;
      most = has_names ? message_.size() : message_.size() < kFirstLook ? kFirstLook : kMostNames;
      break;
    }
    default:
      break;
  }
  return std::max(std::min(whole, most), kHeader);
}

void PooledStatements::take_message(std::string& to_pool) {
  const char type = message_[0];
  const bool is_of_names = type == 'D' || type == 'E' || type == 'C';
  if (is_of_names && message_.size() <= get_uint32(message_.data() + 1)) {
    broken_ = true;
    return;
  }
  if (skipping_ && type != 'S' && type != 'X') {
    skip();
    return;
  }
  switch (type) {
    case 'P':
      take_parse(to_pool);
      break;
    case 'B':
      take_bind(to_pool);
      break;
    case 'D':
      take_describe(to_pool);
      break;
    case 'E':
      take_execute(to_pool);
      break;
    case 'C':
      take_close(to_pool);
      break;
    case 'Q':
      take_query(to_pool);
      break;
    default:
      take_other(to_pool);
  }
  message_.clear();
  if (message_.capacity() > kKeptCapacity) std::string().swap(message_);
}

// As it is, with what has not come yet.
void PooledStatements::pass(std::string& to_pool) {
  pass_left_ = uint64_t{get_uint32(message_.data() + 1)} + 1 - message_.size();
  to_pool += message_;
}

void PooledStatements::skip() {
  skip_left_ = uint64_t{get_uint32(message_.data() + 1)} + 1 - message_.size();
  message_.clear();
}

void PooledStatements::await(Awaited::Kind kind) { await(kind, Awaited()); }

void PooledStatements::await(Awaited::Kind kind, Awaited extra) {
  extra.kind = kind;
  if (extra.undo == SIZE_MAX) extra.undo = undo_.size();
  awaited_.push_back(std::move(extra));
}

// In the place of an extended message: an error at this place of the flight, with all that an error
// has in its wake.
void PooledStatements::refuse(Refusal why, std::string& to_pool) {
  to_pool += message('D', std::string_view(kNoStatement, sizeof kNoStatement));
  Awaited error;
  error.instead = std::move(why);
  await(Awaited::Kind::describe, std::move(error));
}

bool PooledStatements::changes_too_much() const { return undo_.size() >= kMostChanges; }

void PooledStatements::set(const std::string& name, StatementPointer statement) {
  StatementPointer& now = statements_[name];
  if (now) bytes_ -= now->bytes;
  if (statement) bytes_ += statement->bytes;
  StatementPointer before = std::exchange(now, std::move(statement));
  const bool is_gone = now == nullptr;
  if (name.empty()) {
    unnamed_is_new_ = unnamed_is_new_ || !is_gone;
  } else {
    undo_.push_back({name, std::move(before)});
  }
  if (is_gone) statements_.erase(name);
}

void PooledStatements::forget(const PoolSql& sql) {
  for (const auto& name : sql.forgets) {
    if (statements_.contains(name)) set(name, nullptr);
  }
  if (!sql.forgets_all) return;
  while (!statements_.empty()) {
    const std::string name = statements_.begin()->first;
    set(name, nullptr);
  }
}

Refusal PooledStatements::no_room_for(const std::string& name, std::string_view body,
                                      StatementPointer* out) {
  const auto refusal = [&](const std::string& rule) {
    return Refusal{"53400", "prepared statement \"" + name + "\": " + rule};
  };
  if (changes_too_much()) return refusal("too many statements change before a Sync");
  if (!name.empty() && statements_.size() >= limits_.statements) {
    return refusal("a connection to the pooled port has " + std::to_string(limits_.statements) +
                   " prepared statements at most; close some (DEALLOCATE)");
  }
  if (!name.empty() && bytes_ + body.size() > limits_.bytes) {
    return refusal("the prepared statements of a connection to the pooled port have " +
                   std::to_string(limits_.bytes) + " bytes at most; close some (DEALLOCATE)");
  }
  (*out)->text = texts_.keep(body);
  (*out)->bytes = body.size();
  if ((*out)->text) return {};
  return refusal("the clients of this pool keep too many prepared statements; close some "
                 "(DEALLOCATE)");
}

void PooledStatements::take_parse(std::string& to_pool) {
  const size_t whole = size_t{get_uint32(message_.data() + 1)} + 1;
  Reader reader(body_of(message_));
  const std::string name(reader.text());
  const std::string_view rest = reader.rest();
  const bool fits = message_.size() == whole;
  if (!reader.ok()) {
    broken_ = true;
    return;
  }
  PoolSql sql = look_at(fits ? reader.text() : rest);
  const auto refuse_all = [&](Refusal why) {
    refuse(std::move(why), to_pool);
    skip_left_ = whole - message_.size();
  };
  if (!sql.refusal.sqlstate.empty()) {
    refuse_all(std::move(sql.refusal));
    return;
  }
  if (!name.empty() && statements_.contains(name)) {
    refuse_all({"42P05", "prepared statement \"" + name + "\" already exists"});
    return;
  }
  Awaited parse;
  parse.undo = undo_.size();
  auto statement = std::make_shared<Statement>();
  std::string body(rest);
  if (fits) {
    if (!sql.instead.empty()) {
      body = sql.instead;
      body.push_back('\0');
      body += reader.rest();
    }
    Refusal why = no_room_for(name, body, &statement);
    if (!why.sqlstate.empty() && !name.empty()) {
      refuse_all(std::move(why));
      return;
    }
  } else if (!name.empty()) {
    refuse_all({"53400", "prepared statement \"" + name + "\" is longer than the " +
                             std::to_string(limits_.a_message) +
                             " bytes that a statement may have at the pooled port"});
    return;
  }
  forget(sql);
  set(name, statement);
  unnamed_ = statement;
  put_header(to_pool, 'P', body.size() + 1 + (whole - message_.size()));
  to_pool.push_back('\0');
  to_pool += body;
  pass_left_ = whole - message_.size();
  await(Awaited::Kind::parse, std::move(parse));
}

// False: its text is nowhere.
bool PooledStatements::parse_again(const StatementPointer& statement, std::string& to_pool) {
  if (unnamed_ == statement) return true;
  if (!statement->text) return false;
  put_header(to_pool, 'P', statement->text->size() + 1);
  to_pool.push_back('\0');
  to_pool += *statement->text;
  Awaited parse;
  parse.swallowed = true;
  await(Awaited::Kind::parse, std::move(parse));
  unnamed_ = statement;
  return true;
}

void PooledStatements::take_bind(std::string& to_pool) {
  const uint64_t whole = uint64_t{get_uint32(message_.data() + 1)} + 1;
  Reader reader(body_of(message_));
  const std::string portal(reader.text());
  const std::string_view name = reader.text();
  if (!reader.ok()) {
    refuse({"08P01", "invalid message: the names of a Bind"}, to_pool);
    skip_left_ = whole - message_.size();
    return;
  }
  const auto found = statements_.find(name);
  const bool again = found != statements_.end() && unnamed_ != found->second;
  if (found == statements_.end() || !parse_again(found->second, to_pool)) {
    refuse(no_such(name), to_pool);
    skip_left_ = whole - message_.size();
    return;
  }
  bound_ = {portal, found->second, again, false};
  put_header(to_pool, 'B', whole - kHeader - name.size());
  to_pool += portal;
  to_pool.push_back('\0');
  to_pool.push_back('\0');
  to_pool += reader.rest();
  pass_left_ = whole - message_.size();
  await(Awaited::Kind::bind);
}

void PooledStatements::take_describe(std::string& to_pool) {
  const std::string_view body = body_of(message_);
  Awaited description;
  if (body.empty() || body[0] != 'S') {
    pass(to_pool);
    if (!body.empty() && bound_.statement && Reader(body.substr(1)).text() == bound_.portal) {
      bound_.described = true;
      description.described = bound_.statement;
    }
    await(Awaited::Kind::describe, std::move(description));
    return;
  }
  const std::string_view name = Reader(body.substr(1)).text();
  const auto found = statements_.find(name);
  if (found == statements_.end() || !parse_again(found->second, to_pool)) {
    refuse(no_such(name), to_pool);
    return;
  }
  to_pool += described('S', {});
  description.described = found->second;
  await(Awaited::Kind::describe, std::move(description));
}

// A client that knows a statement's rows does not ask for them again. A table that was changed
// since would make it read them wrongly; a server that still had its statement would say so.
void PooledStatements::take_execute(std::string& to_pool) {
  const std::string_view portal = Reader(body_of(message_)).text();
  if (bound_.statement && bound_.parsed_again && !bound_.described && bound_.portal == portal &&
      bound_.statement->shape != 0) {
    to_pool += described('P', portal);
    Awaited check;
    check.swallowed = true;
    check.shape = bound_.statement->shape;
    await(Awaited::Kind::describe, std::move(check));
    bound_.described = true;
  }
  pass(to_pool);
  await(Awaited::Kind::execute);
}

void PooledStatements::take_close(std::string& to_pool) {
  const std::string_view body = body_of(message_);
  Awaited close;
  close.undo = undo_.size();
  if (body.empty() || body[0] != 'S') {
    pass(to_pool);
  } else if (changes_too_much()) {
    refuse({"53400", "too many statements change before a Sync"}, to_pool);
    return;
  } else {
    const std::string name(Reader(body.substr(1)).text());
    if (statements_.contains(name)) set(name, nullptr);
    unnamed_.reset();
    to_pool += message('C', std::string_view("S\0", 2));
  }
  await(Awaited::Kind::close, std::move(close));
}

void PooledStatements::take_query(std::string& to_pool) {
  const size_t whole = size_t{get_uint32(message_.data() + 1)} + 1;
  const bool fits = message_.size() == whole;
  const std::string_view body = body_of(message_);
  PoolSql sql = look_at(body.substr(0, body.find('\0')));
  Awaited query;
  query.undo = undo_.size();
  in_flight_ = true;
  unnamed_.reset();
  if (statements_.contains(std::string_view())) set({}, nullptr);
  if (!sql.refusal.sqlstate.empty()) {
    query.instead = std::move(sql.refusal);
    to_pool += simple_query(kNoQuery);
    skip_left_ = whole - message_.size();
  } else {
    forget(sql);
    if (fits && !sql.instead.empty()) {
      to_pool += simple_query(sql.instead);
    } else {
      pass(to_pool);
    }
  }
  await(Awaited::Kind::query, std::move(query));
}

void PooledStatements::take_other(std::string& to_pool) {
  switch (message_[0]) {
    case 'S':
      pass(to_pool);
      if (copying_) return;  // the server throws it away
      skipping_ = false;
      in_flight_ = true;
      await(Awaited::Kind::sync);
      return;
    case 'F':
      pass(to_pool);
      in_flight_ = true;
      await(Awaited::Kind::query);
      return;
    case 'd':
    case 'c':
    case 'f':
      // A server throws away what it has not asked for.
      if (!copying_ && awaited_.empty()) {
        skip();
        return;
      }
      pass(to_pool);
      if (message_[0] == 'd') return;
      if (!copying_) await(Awaited::Kind::copy_end);
      copying_ = false;
      return;
    default:
      break;
  }
  pass(to_pool);
}

}  // namespace trunkline::proxy
