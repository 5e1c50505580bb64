%%% What may happen all the time, and is said in the log once in a while, with the number of times that it was not. Pure.
-module(outrider_seldom).

-export([new/0, happened/5]).
-export_type([seldom/0]).

%% When something was said last, and how often it has happened since.
-opaque seldom() :: #{term() => {Said :: integer(), Unsaid :: non_neg_integer()}}.

-spec new() -> seldom().
new() ->
    #{}.

%% Something has happened so often, of which nothing is said for Pause ms after it was said. There is a term for each kind of thing,
%% of which the caller has few. Says how often it has happened since it was said last, if it is to be said now.
-spec happened(Kind :: term(), Count :: pos_integer(), Now :: integer(), Pause :: pos_integer(), seldom()) ->
    {say, pos_integer(), seldom()} | {quiet, seldom()}.
happened(Kind, Count, Now, Pause, Seldom) ->
    case Seldom of
        #{Kind := {Said, Unsaid}} when Now - Said < Pause -> {quiet, Seldom#{Kind := {Said, Unsaid + Count}}};
        #{Kind := {_, Unsaid}} -> {say, Unsaid + Count, Seldom#{Kind := {Now, 0}}};
        #{} -> {say, Count, Seldom#{Kind => {Now, 0}}}
    end.

-ifdef(TEST).
-include_lib("eunit/include/eunit.hrl").

what_was_not_said_is_counted_with_what_is_test() ->
    {say, 1, A} = happened(a, 1, 0, 10, new()),
    {quiet, B} = happened(a, 2, 9, 10, A),
    {say, 5, C} = happened(b, 5, 9, 10, B),
    {say, 5, D} = happened(a, 3, 10, 10, C),
    {quiet, E} = happened(b, 1, 18, 10, D),
    {say, 2, _} = happened(b, 1, 19, 10, E).

-endif.
