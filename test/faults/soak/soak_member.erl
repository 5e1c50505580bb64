%% A member's client in the soak: hears what is said to all, and says whether that was what it had to be (soak_member_h).
%%
%% One that reads hears everything that was said while it was a member, once and in order. One that does not always read, and
%% whose handler has it dropped, hears and is told of as much together: what it did not hear was counted.
-module(soak_member).

-export([live/3]).

-define(LIFE_MS, 4000).
-define(SLEEP_MS, 2500).

%% `quick' or `slow'. Counts as two questions, which are answered.
-spec live(quick | slow, binary(), soak_socket:connection()) -> ok.
live(Pace, Name, Connection) ->
    {Early, {Before, After}} = until_text(Connection, []),
    Heard = listen(Pace, Connection, soak_books:now_ms() + rand:uniform(?LIFE_MS), Early),
    {More, {Said, Begun, Own}} = ask(<<"end">>, Connection, Heard),
    {All, {Dropped, Unknown}} = ask(<<"count">>, Connection, More),
    soak_books:count(heard, length(All)),
    soak_books:count(dropped, Dropped),
    Accounts = [
        account(lists:reverse([Number || {Of, Number} <- All, Of =:= Speaker]), Limits, [Number || Speaker =:= 3, Number <- Own],
            [Number || Speaker =:= 3, Number <- Unknown])
     || {Speaker, Limits} <- lists:zip([1, 2, 3], lists:zip(lists:zip(Before, After), lists:zip(Said, Begun)))
    ],
    case is_balanced(Pace, Accounts, Dropped) of
        true -> ok;
        false -> soak_books:wrong({Pace, member, Name, {dropped, Dropped}, Accounts})
    end.

%% Whether what came of a speaker is in order and was due or under way; how much did not come, and how much more could have.
account(Numbers, {{Before, After}, {Said, Begun}}, Own, Unknown) ->
    IsOrderly = Numbers =:= lists:usort(Numbers) andalso lists:all(fun(Number) -> Number > Before andalso Number =< Begun end, Numbers),
    Missing = lists:seq(After + 1, Said) -- (Numbers ++ Own ++ Unknown),
    {IsOrderly, length(Missing), Begun - Before - length(Own) - length(Numbers)}.

is_balanced(Pace, Accounts, Dropped) ->
    {AreOrderly, Missing, Most} = lists:unzip3(Accounts),
    lists:all(fun(IsOrderly) -> IsOrderly end, AreOrderly) andalso
        case Pace of
            quick -> Dropped =:= 0 andalso lists:sum(Missing) =:= 0;
            slow -> lists:sum(Missing) =< Dropped andalso Dropped =< lists:sum(Most)
        end.

ask(Question, Connection, Heard) ->
    put(asked, get(asked) + 1),
    ok = soak_socket:send(Connection, ws_client:bytes({text, Question})),
    Answer = until_text(Connection, Heard),
    put(answered, get(answered) + 1),
    Answer.

%% Somebody always says something.
listen(Pace, Connection, Until, Heard) ->
    case soak_books:now_ms() >= Until orelse soak_books:is_over() of
        true ->
            Heard;
        false ->
            _ = [receive after rand:uniform(?SLEEP_MS) -> ok end || Pace =:= slow, rand:uniform(20) =:= 1],
            listen(Pace, Connection, Until, [heard(soak_socket:message(Connection)) | Heard])
    end.

heard({binary, <<Speaker, Number:64, _/binary>>}) -> {Speaker, Number}.

until_text(Connection, Heard) ->
    case soak_socket:message(Connection) of
        {text, Answer} -> {Heard, binary_to_term(base64:decode(Answer))};
        Message -> until_text(Connection, [heard(Message) | Heard])
    end.
