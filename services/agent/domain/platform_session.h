// The one place that says how a session of the platform's own begins. What a tenant can attach to
// a database or role (ALTER DATABASE … SET) is weaker than the options of the start-up packet, so
// what could harm a superuser's session is named here: whose rights it has, which libraries are
// loaded into it, where names are looked for, how its text is read, what it waits for and what of
// it is logged. What could merely annoy is put back after the start, see PgConnection. No includes:
// the keeper, which has no libraries, uses it too.
#pragma once

namespace trunkline::agent {

inline constexpr char kPlatformSessionOptions[] =
    // rights
    "-c session_authorization=postgres -c role=none"
    // code
    " -c session_preload_libraries= -c local_preload_libraries="
    " -c search_path=pg_catalog,pg_temp -c row_security=on"
    // reading of text
    " -c standard_conforming_strings=on -c backslash_quote=off -c exit_on_error=off"
    " -c bytea_output=hex -c datestyle=iso -c intervalstyle=postgres -c timezone=UTC"
    " -c extra_float_digits=1"
    // waiting
    " -c statement_timeout=60s -c lock_timeout=0 -c idle_in_transaction_session_timeout=0"
    // transactions
    " -c default_transaction_read_only=off -c default_transaction_deferrable=off"
    " -c default_transaction_isolation=read\\ committed"
    " -c default_tablespace= -c temp_tablespaces="
    // traces
    " -c log_statement=none -c log_min_error_statement=panic -c log_min_duration_statement=-1"
    " -c log_min_duration_sample=-1 -c log_duration=off -c client_min_messages=error"
    " -c jit=off -c password_encryption=scram-sha-256";

// What would end a session in a tenant's database before it has said anything; the server refuses
// a session that names a setting which its version does not have.
inline constexpr int kHasIdleSessionTimeout = 140000;
inline constexpr int kHasTransactionTimeout = 170000;
inline constexpr char kNoIdleSessionTimeout[] = " -c idle_session_timeout=0";
inline constexpr char kNoTransactionTimeout[] = " -c transaction_timeout=0";

}  // namespace trunkline::agent
