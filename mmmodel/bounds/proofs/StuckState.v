(** The stuck-state theorem: any number of pools, classes, steps and requests; takes are all or nothing, and what is taken is given back
    when the request is done. *)
From Coq Require Import Arith Lia Bool.
From mmmodel Require Import System Sums.

Section Stack.
Variable st : stack.

Lemma holds_more k i j p : i <= j -> holds st k i p <= holds st k j p.
Proof. intros. apply sum_longer. assumption. Qed.

Lemma holds_next k j p : holds st k (j + 1) p = holds st k j p + take st k j p.
Proof. rewrite Nat.add_1_r. reflexivity. Qed.

Lemma held_after_a_take s t r p :
  there st r -> t r = s r + 1 -> (forall q, q <> r -> t q = s q) -> held st t p = held st s p + take st (class r) (s r) p.
Proof.
  intros Hr E H. unfold held.
  pose proof (total_change st (fun r => holds st (class r) (s r) p) (fun r => holds st (class r) (t r) p) r Hr) as C.
  simpl in C. rewrite E, holds_next in C.
  assert (forall q, q <> r -> holds st (class q) (t q) p = holds st (class q) (s q) p) as A by (intros; rewrite H; auto).
  specialize (C A). lia.
Qed.

Lemma held_le s t p : (forall r, there st r -> s r <= t r) -> held st s p <= held st t p.
Proof. intros H. apply total_le. intros. apply holds_more. auto. Qed.

(** What is reached fits into the pools. *)
Lemma what_is_reached_fits s t :
  runs st s t ->
  (forall p, p < pools st -> held st s p <= capacity st p) -> (forall r, there st r -> s r <= steps st (class r)) ->
  (forall p, p < pools st -> held st t p <= capacity st p) /\ (forall r, there st r -> t r <= steps st (class r)).
Proof.
  intros H Hc Hs. induction H as [t E|t u H [IHc IHs] M].
  - split; intros.
    + unfold held. rewrite (total_ext st _ (fun r => holds st (class r) (s r) p)); [apply Hc; assumption|].
      intros; rewrite E; reflexivity.
    + rewrite E. auto.
  - destruct M as [r [Hr W] F E A|r Hr W E A].
    + split; intros.
      * rewrite (held_after_a_take t u r p); auto.
      * destruct (same_request r0 r) as [->|]; [rewrite E; lia|rewrite A; auto].
    + assert (forall q, there st q -> u q <= t q) as L
        by (intros q Hq; destruct (same_request q r) as [->|N]; [lia|rewrite (A q N); lia]).
      split; intros.
      * apply Nat.le_trans with (held st t p); [apply held_le; assumption|auto].
      * apply Nat.le_trans with (t r0); auto.
Qed.

Lemma held_empty p : held st empty p = 0.
Proof.
  unfold held, total, empty, holds. rewrite (sum_ext _ _ (fun _ => 0)).
  - rewrite sum_const. lia.
  - intros. simpl. rewrite sum_const. lia.
Qed.

Lemma reachable_fits s :
  reachable st s ->
  (forall p, p < pools st -> held st s p <= capacity st p) /\ (forall r, there st r -> s r <= steps st (class r)).
Proof.
  intros H. apply (what_is_reached_fits empty s H); intros; [rewrite held_empty|unfold empty]; lia.
Qed.

(** What fits is reached: nothing is given back on the way, so that what is held is never more than at the end, in whatever order. *)
Lemma what_fits_is_reached t :
  (forall p, p < pools st -> held st t p <= capacity st p) -> (forall r, there st r -> t r <= steps st (class r)) ->
  (forall r, ~ there st r -> t r = 0) -> reachable st t.
Proof.
  remember (total st t) as x eqn:E. revert t E. induction x as [|x IH]; intros t E Hc Hs Ho.
  - apply stays. intros r. unfold empty.
    destruct (le_lt_dec (classes st) (class r)); [apply Ho; unfold there; lia|].
    destruct (le_lt_dec (depth st (class r)) (snd r)); [apply Ho; unfold there; lia|].
    assert (t r <= total st t) by (apply total_member; split; assumption). lia.
  - destruct (total_positive st t) as [r [Hr P]]; [lia|].
    set (s := fun q => if same_request q r then t r - 1 else t q).
    assert (s r = t r - 1) as Er by (unfold s; destruct (same_request r r); congruence).
    assert (forall q, q <> r -> t q = s q) as A by (intros q N; unfold s; destruct (same_request q r); congruence).
    assert (forall q, s q <= t q) as L.
    { intros q. unfold s. destruct (same_request q r) as [->|]; lia. }
    pose proof (total_change st s t r Hr A) as C.
    assert (t r = s r + 1) as Et by lia.
    apply goes with s.
    + apply IH.
      * lia.
      * intros p Hp. apply Nat.le_trans with (held st t p); [apply held_le; auto|auto].
      * intros q Hq. apply Nat.le_trans with (t q); auto.
      * intros q Hq. specialize (L q). rewrite (Ho q Hq) in L. lia.
    + apply (takes st s t r); try assumption.
      * split; [assumption|]. specialize (Hs r Hr). lia.
      * intros p Hp. rewrite <- (held_after_a_take s t r p Hr Et A). auto.
Qed.

(** From a deadlock to the counts of a stuck state. *)
Lemma sum_pick m x g : sum m (fun j => (if x =? j then 1 else 0) * g j) = if x <? m then g x else 0.
Proof.
  induction m as [|m IH]; simpl; [reflexivity|]. rewrite IH.
  destruct (x =? m) eqn:E.
  - apply Nat.eqb_eq in E. subst x. rewrite Nat.ltb_irrefl. replace (m <? S m) with true by (symmetry; apply Nat.ltb_lt; lia). lia.
  - apply Nat.eqb_neq in E. destruct (x <? m) eqn:F; [apply Nat.ltb_lt in F|apply Nat.ltb_ge in F].
    + replace (x <? S m) with true by (symmetry; apply Nat.ltb_lt; lia). lia.
    + replace (x <? S m) with false by (symmetry; apply Nat.ltb_ge; lia). lia.
Qed.

Definition counted (D : request -> bool) (s : state) (k j : nat) : nat :=
  sum (depth st k) (fun i => (if D (k, i) then 1 else 0) * (if s (k, i) =? j then 1 else 0)).

Lemma sum_counted D s k g :
  (forall i, i < depth st k -> D (k, i) = true -> s (k, i) < steps st k) ->
  sum (steps st k) (fun j => counted D s k j * g j) = sum (depth st k) (fun i => if D (k, i) then g (s (k, i)) else 0).
Proof.
  intros W. unfold counted.
  rewrite (sum_ext _ _ (fun j => sum (depth st k) (fun i => (if D (k, i) then 1 else 0) * ((if s (k, i) =? j then 1 else 0) * g j)))).
  2:{ intros j Hj. rewrite (Nat.mul_comm _ (g j)), <- sum_mul. apply sum_ext. intros. lia. }
  rewrite sum_swap. apply sum_ext. intros i Hi. rewrite sum_mul, sum_pick.
  destruct (D (k, i)) eqn:E; [|lia].
  replace (s (k, i) <? steps st k) with true by (symmetry; apply Nat.ltb_lt; auto). lia.
Qed.

Lemma used_counted D s p :
  (forall r, there st r -> D r = true -> waits st s r) -> used st (counted D s) p = held st (only D s) p.
Proof.
  intros W. unfold used, held, total. apply sum_ext. intros k Hk. rewrite sum_counted.
  - apply sum_ext. intros i Hi. unfold only, class. simpl. destruct (D (k, i)); reflexivity.
  - intros i Hi E. apply (W (k, i)); [split|]; assumption.
Qed.

Lemma occupied_counted D s k j :
  occupied st (counted D s) k j -> exists i, there st (k, i) /\ D (k, i) = true /\ s (k, i) = j.
Proof.
  intros [Hk [Hj P]]. apply sum_positive in P. destruct P as [i [Hi P]]. exists i.
  destruct (D (k, i)); [|simpl in P; lia]. destruct (s (k, i) =? j) eqn:E; [|simpl in P; lia].
  apply Nat.eqb_eq in E. repeat split; assumption.
Qed.

Lemma counted_member D s r : there st r -> D r = true -> 0 < counted D s (class r) (s r).
Proof.
  destruct r as [k i]. intros [Hk Hi] E. simpl in *. unfold counted.
  pose proof (sum_member (depth st k) (fun i0 => (if D (k, i0) then 1 else 0) * (if s (k, i0) =? s (k, i) then 1 else 0)) i Hi) as M.
  simpl in M. rewrite E, Nat.eqb_refl in M. lia.
Qed.

Lemma not_fits s r : ~ fits st s r -> exists p, p < pools st /\ capacity st p < held st s p + take st (class r) (s r) p.
Proof.
  intros N. destruct (search (fun p => capacity st p < held st s p + take st (class r) (s r) p) (pools st)) as [H|H].
  - intros p. apply lt_dec.
  - exact H.
  - exfalso. apply N. intros p Hp. specialize (H p Hp). lia.
Qed.

Lemma deadlock_is_stuck s D : reachable st s -> deadlocked st D s -> stuck st (counted D s).
Proof.
  intros R [[r [Hr Dr]] H]. destruct (reachable_fits s R) as [Hc Hs].
  assert (forall q, there st q -> D q = true -> waits st s q) as W by (intros; apply H; assumption).
  split; [|split; [|split]].
  - intros k Hk. pose proof (sum_counted D s k (fun _ => 1)) as E.
    rewrite (sum_ext _ (counted D s k) (fun j => counted D s k j * 1)) by (intros; lia). rewrite E.
    + apply Nat.le_trans with (sum (depth st k) (fun _ => 1)); [|rewrite sum_const; lia].
      apply sum_le. intros i Hi. destruct (D (k, i)); lia.
    + intros i Hi Di. apply (W (k, i)); [split|]; assumption.
  - intros p Hp. rewrite used_counted by assumption. apply Nat.le_trans with (held st s p); [|auto].
    apply held_le. intros q Hq. unfold only. destruct (D q); lia.
  - exists (class r), (s r). destruct (W r Hr Dr) as [_ L]. split; [apply Hr|split; [exact L|apply counted_member; assumption]].
  - intros k j O. apply occupied_counted in O. destruct O as [i [Hi [Di E]]].
    destruct (H (k, i) Hi Di) as [_ [HS NF]]. simpl in HS. rewrite E in HS. split; [exact HS|].
    apply not_fits in NF. destruct NF as [p [Hp B]]. exists p. split; [exact Hp|].
    rewrite used_counted by assumption. unfold only in B at 2. rewrite Di in B. simpl in B. rewrite E in B. exact B.
Qed.

(** From the counts of a stuck state to requests that stand so: the first n (m - 1) of a class after m - 1 steps, and so on down. *)
Fixpoint assign (n : nat -> nat) (m i : nat) : nat :=
  match m with 0 => 0 | S j => if i <? n j then j else assign n j (i - n j) end.

Lemma sum_split a b f : sum (a + b) f = sum a f + sum b (fun i => f (a + i)).
Proof. induction b as [|b IH]; [rewrite Nat.add_0_r; simpl; lia|]. rewrite Nat.add_succ_r. simpl. rewrite IH. lia. Qed.

Lemma sum_assign n m K g : g 0 = 0 -> sum m n <= K -> sum K (fun i => g (assign n m i)) = sum m (fun j => n j * g j).
Proof.
  intros G. revert K. induction m as [|m IH]; intros K L; simpl in *.
  - rewrite G, sum_const. lia.
  - replace K with (n m + (K - n m)) by lia. rewrite sum_split.
    rewrite (sum_ext (n m) _ (fun _ => g m)), sum_const.
    2:{ intros i Hi. replace (i <? n m) with true by (symmetry; apply Nat.ltb_lt; assumption). reflexivity. }
    rewrite (sum_ext (K - n m) _ (fun i => g (assign n m i))).
    + rewrite IH; lia.
    + intros i Hi. replace (n m + i <? n m) with false by (symmetry; apply Nat.ltb_ge; lia).
      replace (n m + i - n m) with i by lia. reflexivity.
Qed.

Lemma assign_inside n m i : i < sum m n -> assign n m i < m /\ 0 < n (assign n m i).
Proof.
  revert i. induction m as [|m IH]; simpl; intros i L; [lia|].
  destruct (i <? n m) eqn:E; [apply Nat.ltb_lt in E; lia|apply Nat.ltb_ge in E].
  assert (i - n m < sum m n) as L' by lia. specialize (IH _ L'). lia.
Qed.

Lemma assign_outside n m i : sum m n <= i -> assign n m i = 0.
Proof.
  revert i. induction m as [|m IH]; simpl; intros i L; [reflexivity|].
  replace (i <? n m) with false by (symmetry; apply Nat.ltb_ge; lia). apply IH. lia.
Qed.

Definition placed (n : nat -> nat -> nat) : state :=
  fun r => if class r <? classes st then assign (n (class r)) (steps st (class r)) (snd r) else 0.
Definition placed_ones (n : nat -> nat -> nat) : request -> bool := fun r => snd r <? sum (steps st (class r)) (n (class r)).

Lemma used_placed n p : (forall k, k < classes st -> sum (steps st k) (n k) <= depth st k) -> held st (placed n) p = used st n p.
Proof.
  intros Hd. unfold held, used, total, placed. apply sum_ext. intros k Hk. simpl.
  replace (k <? classes st) with true by (symmetry; apply Nat.ltb_lt; assumption).
  apply (sum_assign (n k) (steps st k) (depth st k) (fun j => holds st k j p)); [reflexivity|auto].
Qed.

Lemma stuck_is_reached n : stuck st n -> reachable st (placed n) /\ deadlocked st (placed_ones n) (placed n).
Proof.
  intros [Hd [Hc [[k [j [Hk [Hj P]]]] H]]].
  assert (forall r, only (placed_ones n) (placed n) r = placed n r) as O.
  { intros r. unfold only, placed_ones, placed. destruct (class r <? classes st); [|destruct (_ <? _); reflexivity].
    destruct (snd r <? _) eqn:E; [reflexivity|]. apply Nat.ltb_ge in E. symmetry. apply assign_outside. exact E. }
  assert (forall r, there st r -> placed_ones n r = true -> occupied st n (class r) (placed n r)) as I.
  { intros r [Hr _] E. unfold placed_ones in E. apply Nat.ltb_lt in E. apply assign_inside in E.
    unfold placed. replace (class r <? classes st) with true by (symmetry; apply Nat.ltb_lt; assumption).
    split; [assumption|exact E]. }
  split; [apply what_fits_is_reached|split].
  - intros p Hp. rewrite used_placed by assumption. auto.
  - intros r Hr. destruct (placed_ones n r) eqn:E.
    + apply I in E; [|assumption]. destruct E as [_ [E _]]. lia.
    + rewrite <- O. unfold only. rewrite E. lia.
  - intros r N. destruct (placed_ones n r) eqn:E; [|rewrite <- O; unfold only; rewrite E; reflexivity].
    unfold placed. destruct (class r <? classes st) eqn:F; [|reflexivity]. exfalso. apply N.
    apply Nat.ltb_lt in F, E. split; [assumption|]. specialize (Hd _ F). lia.
  - exists (k, 0). pose proof (sum_member (steps st k) (n k) j Hj) as M. specialize (Hd k Hk). repeat split; simpl.
    + assumption.
    + lia.
    + unfold placed_ones, class. simpl. apply Nat.ltb_lt. lia.
  - intros r Hr E. pose proof (I r Hr E) as Oc. destruct (H _ _ Oc) as [HS [p [Hp B]]].
    split; [split; [assumption|apply Oc]|split; [assumption|]].
    intros F. specialize (F p Hp). rewrite O in F.
    replace (held st (only (placed_ones n) (placed n)) p) with (used st n p) in F; [lia|].
    rewrite <- used_placed by assumption. apply total_ext. intros q Hq. rewrite O. reflexivity.
Qed.

End Stack.

(** A deadlock is reachable iff a stuck state exists. *)
Theorem deadlock_iff_stuck_state :
  forall st : stack,
  deadlock_reachable st <-> exists n, stuck st n.
Proof.
  intros st. split.
  - intros [s [D [R H]]]. exists (counted st D s). apply deadlock_is_stuck; assumption.
  - intros [n H]. exists (placed st n), (placed_ones st n). apply stuck_is_reached. exact H.
Qed.
