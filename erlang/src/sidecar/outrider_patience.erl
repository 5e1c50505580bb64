%%% When to try again what has failed, and whether to say so: at once, then after pauses that double up to five seconds, for
%%% as long as it takes, with one warning a minute. Pure; times are milliseconds of a monotonic clock.
-module(outrider_patience).

-export([new/0, failed/3]).
-export_type([patience/0]).

-define(FIRST_PAUSE_MS, 50).
-define(LONGEST_PAUSE_MS, 5000).
-define(WARNING_MS, 60000).

-record(patience, {
    pause = 0 :: non_neg_integer(),
    %% When it failed first, and when that was last said.
    since = never :: never | integer(),
    warned = never :: never | integer()
}).

-opaque patience() :: #patience{}.

-spec new() -> patience().
new() ->
    #patience{}.

%% It has failed (again). What goes by itself within Grace is not worth a warning before that.
-spec failed(Now :: integer(), Grace :: non_neg_integer(), patience()) ->
    {Pause :: non_neg_integer(), IsToWarn :: boolean(), patience()}.
failed(Now, Grace, P = #patience{since = never}) ->
    failed(Now, Grace, P#patience{since = Now});
failed(Now, Grace, P = #patience{pause = Pause, since = Since, warned = Warned}) ->
    IsToWarn = Now - Since >= Grace andalso (Warned =:= never orelse Now - Warned >= ?WARNING_MS),
    Next = P#patience{pause = min(?LONGEST_PAUSE_MS, max(?FIRST_PAUSE_MS, 2 * Pause))},
    case IsToWarn of
        true -> {Pause, true, Next#patience{warned = Now}};
        false -> {Pause, false, Next}
    end.
