#include "proxy/domain/pooled_statements.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace trunkline::proxy {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class Texts : public StatementTexts {
 public:
  Text keep(std::string_view text) override {
    if (full) return nullptr;
    return std::make_shared<const std::string>(text);
  }
  bool full = false;
};

std::string z(std::string_view text) { return std::string(text) + '\0'; }
std::string two_bytes(int value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value)};
}
std::string parse(std::string_view name, std::string_view sql) {
  return parse_message(name, sql, {});
}
std::string bind(std::string_view portal, std::string_view name) {
  return message('B', z(portal) + z(name) + two_bytes(0) + two_bytes(0) + two_bytes(0));
}
std::string describe(std::string_view name) { return message('D', "S" + z(name)); }
std::string describe_portal(std::string_view name = "") { return message('D', "P" + z(name)); }
std::string execute(std::string_view portal = "") {
  return message('E', z(portal) + std::string(4, '\0'));
}
std::string close_statement(std::string_view name) { return message('C', "S" + z(name)); }
const std::string kSync = message('S', {});
const std::string kParsed = message('1', {});
const std::string kBound = message('2', {});
const std::string kClosed = message('3', {});
const std::string kDone = message('C', z("SELECT 1"));
const std::string kReady = message('Z', "I");
const std::string kReadyInTransaction = message('Z', "T");
const std::string kReadyFailed = message('Z', "E");
const std::string kError = error_report({"22012", "division by zero"});
const std::string kParameters = message('t', two_bytes(0));
const std::string kCopyIn = message('G', std::string(3, '\0'));
const std::string kCopyData = message('d', "1\n");
const std::string kCopyDone = message('c', {});
std::string row_description(std::string_view column, uint32_t type = 23) {
  std::string body = two_bytes(1) + z(column) + std::string(6, '\0');
  put_uint32(body, type);
  return message('T', body + std::string(8, '\0'));
}

class PooledStatementsTest : public ::testing::Test {
 protected:
  // What goes to the pool of it.
  std::string say(const std::string& bytes) {
    std::string out;
    const size_t taken = client_.from_client(held_ + bytes, out);
    held_ = (held_ + bytes).substr(taken);
    return out;
  }
  // What the client gets of it.
  std::string answer(const std::string& bytes) {
    std::string out;
    client_.from_pool(bytes, out);
    return out;
  }
  std::string error_of(const std::string& answers) {
    EXPECT_EQ(answers.substr(0, 1), "E");
    return std::string(report_field(std::string_view(answers).substr(kHeader), 'C'));
  }
  void prepare(std::string_view name, std::string_view sql) {
    say(parse(name, sql) + kSync);
    answer(kParsed + kReady);
  }

  Texts texts_;
  PooledStatements client_{texts_};
  std::string held_;
};

TEST_F(PooledStatementsTest, no_name_of_a_statement_reaches_the_server) {
  EXPECT_EQ(say(parse("s1", "select 1") + describe("s1") + kSync),
            parse("", "select 1") + describe("") + kSync);
  const std::string first = kParsed + kParameters + row_description("a") + kReady;
  EXPECT_EQ(answer(first), first);
}

TEST_F(PooledStatementsTest, a_later_transaction_parses_it_again_unseen) {
  prepare("s1", "select 1");
  EXPECT_EQ(say(bind("p", "s1") + execute("p") + kSync),
            parse("", "select 1") + bind("p", "") + execute("p") + kSync);
  EXPECT_EQ(answer(kParsed + kBound + kDone + kReady), kBound + kDone + kReady);
  EXPECT_EQ(say(describe("s1") + kSync), parse("", "select 1") + describe("") + kSync);
}

TEST_F(PooledStatementsTest, within_a_transaction_it_is_parsed_once) {
  prepare("s1", "select 1");
  say(simple_query("begin"));
  answer(message('C', z("BEGIN")) + kReadyInTransaction);
  EXPECT_EQ(say(bind("", "s1") + kSync), parse("", "select 1") + bind("", "") + kSync);
  EXPECT_EQ(answer(kParsed + kBound + kReadyInTransaction), kBound + kReadyInTransaction);
  EXPECT_EQ(say(bind("", "s1") + kSync), bind("", "") + kSync);
  answer(kBound + kReadyInTransaction);
  // A query takes the server's unnamed statement away.
  say(simple_query("commit"));
  answer(message('C', z("COMMIT")) + kReadyInTransaction);
  EXPECT_EQ(say(bind("", "s1") + kSync), parse("", "select 1") + bind("", "") + kSync);
}

TEST_F(PooledStatementsTest, two_statements_take_turns_in_one_flight) {
  prepare("a", "select 'a'");
  prepare("b", "select 'b'");
  EXPECT_EQ(say(bind("", "a") + execute() + bind("", "b") + execute() + bind("", "b") + execute() +
                kSync),
            parse("", "select 'a'") + bind("", "") + execute() + parse("", "select 'b'") +
                bind("", "") + execute() + bind("", "") + execute() + kSync);
  EXPECT_EQ(answer(kParsed + kBound + kDone + kParsed + kBound + kDone + kBound + kDone + kReady),
            kBound + kDone + kBound + kDone + kBound + kDone + kReady);
}

TEST_F(PooledStatementsTest, the_unnamed_one_outlives_its_flight) {
  say(parse("", "select 1") + kSync);
  answer(kParsed + kReady);
  EXPECT_EQ(say(bind("", "") + execute() + kSync),
            parse("", "select 1") + bind("", "") + execute() + kSync);
  EXPECT_EQ(answer(kParsed + kBound + kDone + kReady), kBound + kDone + kReady);
  say(simple_query("select 2"));
  answer(kDone + kReady);
  say(bind("", "") + kSync);
  EXPECT_EQ(error_of(answer(kError + kReady)), "26000");
}

TEST_F(PooledStatementsTest, the_unnamed_one_outlives_an_error_of_its_use) {
  say(parse("", "select 1/$1") + kSync);
  answer(kParsed + kReady);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(say(bind("", "") + execute() + kSync),
              parse("", "select 1/$1") + bind("", "") + execute() + kSync);
    EXPECT_EQ(answer(kParsed + kBound + kError + kReady), kBound + kError + kReady);
  }
}

TEST_F(PooledStatementsTest, one_flight_that_never_ends_takes_no_more_than_its_bounds) {
  std::string many;
  for (int i = 0; i < 3'000; ++i) many += bind("", "none") + execute();
  std::string out;
  PooledStatements client(texts_);
  const size_t taken = client.from_client(many, out);
  EXPECT_LT(taken, many.size());
  EXPECT_GT(taken, many.size() / 2);
  std::string got;
  client.from_pool(kError, got);
  EXPECT_EQ(client.from_client(many, out), many.size());  // thrown away
}

TEST_F(PooledStatementsTest, a_flight_waits_for_the_one_before) {
  const std::string first = say(parse("a", "select 1") + kSync + bind("", "a") + kSync);
  EXPECT_EQ(first, parse("", "select 1") + kSync);
  answer(kParsed);
  EXPECT_EQ(say(""), "");
  answer(kReady);
  EXPECT_EQ(say(""), parse("", "select 1") + bind("", "") + kSync);
  EXPECT_EQ(say(simple_query("select 1")), "");
}

TEST_F(PooledStatementsTest, what_an_error_kept_from_being_parsed_is_not_there) {
  prepare("kept", "select 'kept'");
  say(bind("", "kept") + execute() + close_statement("kept") + parse("new", "select 2") + kSync);
  EXPECT_EQ(answer(kParsed + kBound + kError + kReady), kBound + kError + kReady);
  EXPECT_THAT(say(bind("", "new") + kSync), Not(HasSubstr("select 2")));
  EXPECT_EQ(error_of(answer(kError + kReady)), "26000");
  EXPECT_THAT(say(bind("", "kept") + kSync), HasSubstr("select 'kept'"));
}

TEST_F(PooledStatementsTest, one_that_cannot_be_parsed_is_not_there) {
  say(parse("bad", "selct") + kSync);
  EXPECT_EQ(answer(kError + kReady), kError + kReady);
  EXPECT_EQ(client_.count(), 0u);
  prepare("bad", "select 1");
  EXPECT_EQ(client_.count(), 1u);
}

TEST_F(PooledStatementsTest, after_an_error_everything_up_to_sync_is_thrown_away) {
  say(parse("a", "selct"));
  EXPECT_EQ(answer(kError), kError);
  EXPECT_EQ(say(parse("b", "select 1") + bind("", "b") + simple_query("select 1")), "");
  EXPECT_EQ(say(kSync), kSync);
  EXPECT_EQ(answer(kReady), kReady);
  EXPECT_EQ(client_.count(), 0u);
}

TEST_F(PooledStatementsTest, errors_of_our_own_come_in_their_place) {
  prepare("a", "select 1");
  const std::string said =
      say(bind("", "a") + execute() + parse("a", "select 2") + execute() + kSync);
  EXPECT_THAT(said, Not(HasSubstr("select 2")));
  const std::string got = answer(kParsed + kBound + kDone + kError + kReadyFailed);
  EXPECT_EQ(got.substr(0, kBound.size() + kDone.size()), kBound + kDone);
  EXPECT_EQ(error_of(got.substr(kBound.size() + kDone.size())), "42P05");
  EXPECT_TRUE(got.ends_with(kReadyFailed));
  say(simple_query("select 1; listen x"));
  EXPECT_EQ(error_of(answer(kError + kReady)), "0A000");
  say(parse("", "listen x") + kSync);
  EXPECT_EQ(error_of(answer(kError + kReady)), "0A000");
}

TEST_F(PooledStatementsTest, closing_forgets) {
  prepare("a", "select 1");
  EXPECT_EQ(say(close_statement("a") + kSync), close_statement("") + kSync);
  EXPECT_EQ(answer(kClosed + kReady), kClosed + kReady);
  EXPECT_EQ(client_.count(), 0u);
  prepare("b", "select 1");
  EXPECT_EQ(say(simple_query("deallocate b")), simple_query("deallocate ALL"));
  answer(kDone + kReady);
  EXPECT_EQ(client_.count(), 0u);
  prepare("c", "select 1");
  EXPECT_EQ(say(parse("", "DEALLOCATE c") + bind("", "") + execute() + kSync),
            parse("", "DEALLOCATE ALL") + bind("", "") + execute() + kSync);
  answer(kParsed + kBound + kDone + kReady);
  say(bind("", "c") + kSync);
  EXPECT_EQ(error_of(answer(kError + kReady)), "26000");
}

TEST_F(PooledStatementsTest, what_a_failed_query_would_have_forgotten_is_still_there) {
  prepare("a", "select 1");
  say(simple_query("DISCARD ALL"));
  answer(kError + kReadyFailed);
  EXPECT_EQ(client_.count(), 1u);
}

TEST_F(PooledStatementsTest, rows_of_another_shape_than_the_client_knows_reach_nobody) {
  say(parse("a", "select * from t") + describe("a") + kSync);
  answer(kParsed + kParameters + row_description("x") + kReady);
  const std::string said = say(bind("", "a") + execute() + kSync);
  EXPECT_EQ(said, parse("", "select * from t") + bind("", "") + describe_portal() + execute() +
                      kSync);
  EXPECT_EQ(answer(kParsed + kBound + row_description("x") + message('D', "row") + kDone + kReady),
            kBound + message('D', "row") + kDone + kReady);
  say(bind("", "a") + execute() + kSync);
  const std::string got =
      answer(kParsed + kBound + row_description("x", 25) + message('D', "secret") + kDone + kReady);
  EXPECT_THAT(got, Not(HasSubstr("secret")));
  EXPECT_TRUE(client_.has_ended());
  EXPECT_EQ(error_of(got.substr(kBound.size())), "08006");
}

TEST_F(PooledStatementsTest, a_client_that_asks_for_the_rows_shape_is_not_asked_for) {
  say(parse("a", "select * from t") + describe("a") + kSync);
  answer(kParsed + kParameters + row_description("x") + kReady);
  EXPECT_EQ(say(bind("", "a") + describe_portal() + execute() + kSync),
            parse("", "select * from t") + bind("", "") + describe_portal() + execute() + kSync);
  const std::string changed = row_description("y") + message('D', "row") + kDone + kReady;
  EXPECT_EQ(answer(kParsed + kBound + changed), kBound + changed);
}

TEST_F(PooledStatementsTest, copying_in_throws_sync_away) {
  // Sync before the server has asked for data, as libpq sends it.
  say(parse("", "copy t from stdin") + bind("", "") + execute() + kSync);
  EXPECT_EQ(answer(kParsed + kBound + kCopyIn), kParsed + kBound + kCopyIn);
  EXPECT_EQ(say(kCopyData + kCopyDone + kSync), kCopyData + kCopyDone + kSync);
  EXPECT_EQ(say(simple_query("select 1")), "");
  EXPECT_EQ(answer(kDone + kReady), kDone + kReady);
  EXPECT_EQ(say(""), simple_query("select 1"));
}

TEST_F(PooledStatementsTest, copying_in_within_one_flight_and_the_next_one) {
  const std::string copy = parse("", "copy t from stdin") + bind("", "") + execute() + kCopyData +
                           kCopyDone + kSync;
  const std::string next = parse("", "select 1") + bind("", "") + execute() + kSync;
  EXPECT_EQ(say(copy + next), copy);
  answer(kParsed + kBound + kCopyIn + kDone + kReady);
  EXPECT_EQ(say(""), next);
  const std::string last = kParsed + kBound + kDone + kReady;
  EXPECT_EQ(answer(last), last);
  EXPECT_EQ(say(kCopyData), "");  // nobody asked for it
}

TEST_F(PooledStatementsTest, a_copy_that_fails_goes_on_behind_its_sync) {
  say(parse("", "copy t from stdin") + bind("", "") + execute() + kSync);
  answer(kParsed + kBound + kCopyIn);
  say(kCopyData);
  answer(kError);
  EXPECT_EQ(say(kCopyData + kCopyDone + kSync), kSync);
  EXPECT_EQ(answer(kReady), kReady);
  say(simple_query("copy t from stdin"));
  answer(kCopyIn);
  EXPECT_EQ(say(kCopyData + message('f', z("no"))), kCopyData + message('f', z("no")));
  EXPECT_EQ(answer(kError + kReady), kError + kReady);
  EXPECT_EQ(say(simple_query("select 1")), simple_query("select 1"));
}

TEST_F(PooledStatementsTest, memory_has_bounds_that_say_so) {
  PooledStatements client(texts_, {3, 100, 200});
  std::string out;
  const auto try_to = [&](const std::string& bytes, const std::string& answers) {
    out.clear();
    EXPECT_EQ(client.from_client(bytes + kSync, out), bytes.size() + kSync.size());
    std::string got;
    client.from_pool(answers + kReady, got);
    return got;
  };
  for (const char* name : {"a", "b", "c"}) try_to(parse(name, "select 1"), kParsed);
  EXPECT_EQ(error_of(try_to(parse("d", "select 1"), kError)), "53400");
  EXPECT_EQ(client.count(), 3u);
  try_to(close_statement("a") + close_statement("b"), kClosed + kClosed);
  EXPECT_EQ(error_of(try_to(parse("d", std::string(150, 'x')), kError)), "53400");
  EXPECT_EQ(error_of(try_to(parse("d", std::string(250, 'x')), kError)), "53400");
  EXPECT_LT(out.size(), 100u);
  // Without a name it may be of any length, and is forgotten.
  const std::string is_long = parse("", std::string(250, 'x')) + bind("", "") + execute();
  EXPECT_EQ(try_to(is_long, kParsed + kBound + kDone), kParsed + kBound + kDone + kReady);
  EXPECT_EQ(out, is_long + kSync);
  EXPECT_EQ(error_of(try_to(bind("", ""), kError)), "26000");
  texts_.full = true;
  EXPECT_EQ(error_of(try_to(parse("d", "select 1"), kError)), "53400");
}

TEST_F(PooledStatementsTest, bytes_may_be_cut_anywhere) {
  const std::string said = parse("a", "select 1") + bind("p", "a") + describe("a") +
                           execute("p") + simple_query("deallocate a");
  const std::string answers =
      kParsed + kBound + kParameters + row_description("a") + kDone + kDone + kReady;
  std::string whole, pieces, got;
  PooledStatements first(texts_);
  first.from_client(said, whole);
  for (const char c : said) EXPECT_EQ(client_.from_client({&c, 1}, pieces), 1u);
  EXPECT_EQ(pieces, whole);
  for (const char c : answers) client_.from_pool({&c, 1}, got);
  EXPECT_EQ(got, answers);
  EXPECT_FALSE(client_.is_broken());
}

TEST_F(PooledStatementsTest, after_its_last_words_a_connection_says_nothing_more) {
  say(simple_query("select 1"));
  const std::string crashed = fatal({"08P01", "server conn crashed?"});
  EXPECT_EQ(error_of(answer(crashed + crashed)), "57P01");
  EXPECT_TRUE(client_.has_ended());
  EXPECT_EQ(answer(crashed), "");
}

TEST_F(PooledStatementsTest, the_servers_own_last_words_come_once) {
  say(simple_query("select 1"));
  const std::string ends = fatal({"57P01", "terminating connection"});
  EXPECT_EQ(answer(ends + fatal({"08P01", "server conn crashed?"})), ends);
}

TEST_F(PooledStatementsTest, what_is_no_message_ends_it) {
  std::string out;
  PooledStatements client(texts_);
  client.from_client(std::string("Q\0\0\0\1", 5), out);
  EXPECT_TRUE(client.is_broken());
  answer(std::string("T\0\0\0\1", 5));
  EXPECT_TRUE(client_.is_broken());
}

}  // namespace
}  // namespace trunkline::proxy
