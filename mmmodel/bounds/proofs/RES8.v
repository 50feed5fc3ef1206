(** Safe reserve, several classes, by thresholds (RES-8): any number of classes, chunks and requests. *)
From Coq Require Import Arith Lia Bool.
From mmmodel Require Import System Sums StuckState Safe.

(** The most that one request of class k holds while it waits for t or more. *)
Definition most (m : nat -> nat) (c : nat -> nat -> nat) (k t : nat) : nat :=
  greatest (m k) (fun j => if t <=? c k j then sum j (c k) else 0).

(** R_safe = max over the chunks t of [ t + sum over the classes of K_k (most that one holds while it waits for t or more) ]. *)
Definition at_threshold (classes : nat) (K m : nat -> nat) (c : nat -> nat -> nat) (t : nat) : nat :=
  t + sum classes (fun k => K k * most m c k t).
Definition safe_reserve (classes : nat) (K m : nat -> nat) (c : nat -> nat -> nat) : nat :=
  greatest classes (fun k => greatest (m k) (fun j => at_threshold classes K m c (c k j))).

Lemma most_ge m c k j t : j < m k -> t <= c k j -> sum j (c k) <= most m c k t.
Proof.
  intros Hj L. unfold most. apply Nat.leb_le in L.
  pose proof (greatest_ge (m k) (fun j => if t <=? c k j then sum j (c k) else 0) j Hj) as G. simpl in G. rewrite L in G. exact G.
Qed.

Lemma most_reached m c k t : 0 < most m c k t -> exists j, j < m k /\ t <= c k j /\ sum j (c k) = most m c k t.
Proof.
  intros P. destruct (greatest_reached _ _ P) as [j [Hj E]]. exists j. fold (most m c k t) in E.
  destruct (t <=? c k j) eqn:L; [apply Nat.leb_le in L; tauto|lia].
Qed.

Section Classes.
Variables (classes : nat) (K m : nat -> nat) (c : nat -> nat -> nat).
Let st := one_reserve classes K m c.

Lemma safe_reserve_ge k j : k < classes -> j < m k -> at_threshold classes K m c (c k j) <= safe_reserve classes K m c.
Proof.
  intros Hk Hj. unfold safe_reserve.
  eapply Nat.le_trans; [|apply (greatest_ge _ _ k Hk)].
  apply (greatest_ge (m k) (fun j => at_threshold classes K m c (c k j)) j Hj).
Qed.

Lemma safe_reserve_reached :
  0 < safe_reserve classes K m c ->
  exists k j, k < classes /\ j < m k /\ at_threshold classes K m c (c k j) = safe_reserve classes K m c.
Proof.
  intros P. destruct (greatest_reached _ _ P) as [k [Hk E]]. fold (safe_reserve classes K m c) in E.
  rewrite <- E in P. destruct (greatest_reached _ _ P) as [j [Hj F]]. exists k, j. repeat split; congruence.
Qed.

Hypothesis chunks_positive : forall k j, k < classes -> j < m k -> 0 < c k j.
Hypothesis depths_positive : forall k, k < classes -> 0 < K k.

Lemma holds_one R k j p : holds (st R) k j p = sum j (c k).
Proof. reflexivity. Qed.

Lemma footprint_fits R k : safe_reserve classes K m c <= R -> k < classes -> sum (m k) (c k) <= R.
Proof.
  intros L Hk. destruct (m k) as [|j] eqn:E; [simpl; lia|].
  assert (j < m k) as Hj by lia. pose proof (safe_reserve_ge k j Hk Hj) as G. unfold at_threshold in G.
  pose proof (most_ge m c k j (c k j) Hj (le_n _)) as M.
  pose proof (sum_member classes (fun k0 => K k0 * most m c k0 (c k j)) k Hk) as S. simpl in S.
  specialize (depths_positive k Hk). simpl. nia.
Qed.

Lemma no_deadlock R : safe_reserve classes K m c <= R -> ~ deadlock_reachable (st R).
Proof.
  intros L [s [D [Rs [[r0 [Hr0 D0]] H]]]].
  destruct (least_request (st R) (fun r => D r = true) (fun r => c (class r) (s r))) as [r [Hr [Dr Least]]].
  { intros r. destruct (D r); [left; reflexivity|right; discriminate]. }
  { exists r0. tauto. }
  destruct (H r Hr Dr) as [[_ W] [_ NF]]. apply NF. intros p Hp. simpl in W. set (t := c (class r) (s r)) in *.
  assert (held (st R) (only D s) p <= sum classes (fun k => K k * most m c k t)) as U.
  { unfold held, total. apply sum_le. intros k Hk. simpl in Hk. rewrite <- sum_const. apply sum_le. intros i Hi. simpl in *.
    unfold only, class in *. simpl. rewrite holds_one. destruct (D (k, i)) eqn:Dk; [|simpl; lia].
    assert (there (st R) (k, i)) as Hq by (split; assumption).
    destruct (H _ Hq Dk) as [[_ Wq] _]. apply most_ge; [exact Wq|]. apply (Least _ Hq Dk). }
  simpl. unfold only at 2. rewrite Dr. fold t.
  destruct Hr as [Hk _]. pose proof (safe_reserve_ge (class r) (s r) Hk W) as G. unfold at_threshold in G. fold t in G. lia.
Qed.

(** One below, the requests of the worst threshold are stuck, or one of them alone never gets its first chunk. *)
Lemma not_safe_below R : R + 1 = safe_reserve classes K m c -> ~ safe (st R).
Proof.
  intros E Safe. apply safe_iff_no_deadlock in Safe. destruct Safe as [ND Fit].
  destruct safe_reserve_reached as [k0 [j0 [Hk0 [Hj0 W]]]]; [lia|].
  set (t := c k0 j0) in *. unfold at_threshold in W. pose proof (chunks_positive k0 j0 Hk0 Hj0) as Pt. fold t in Pt.
  (* where the requests of class k stand: 0 if they hold nothing *)
  assert (forall k, {j | j < m k /\ t <= c k j /\ sum j (c k) = most m c k t /\ 0 < most m c k t} + {most m c k t = 0}) as Where.
  { intros k. destruct (Nat.eq_dec (most m c k t) 0) as [|N]; [right; assumption|left].
    assert (forall n, (exists j, j < n /\ t <= c k j /\ sum j (c k) = most m c k t) ->
                      {j | j < n /\ t <= c k j /\ sum j (c k) = most m c k t}) as Find.
    { induction n as [|n IH]; intros X; [exfalso; destruct X as [j []]; lia|].
      destruct (le_lt_dec t (c k n)); [destruct (Nat.eq_dec (sum n (c k)) (most m c k t)); [exists n; repeat split; (lia || assumption)|]|];
        (destruct IH as [j [Hj Q]]; [destruct X as [j [Hj [Q1 Q2]]]; exists j; repeat split; try assumption;
          destruct (Nat.eq_dec j n) as [->|]; [lia|lia]|exists j; split; [lia|assumption]]). }
    destruct (Find (m k)) as [j Q]; [apply most_reached; lia|]. exists j. repeat split; try apply Q. lia. }
  set (s := fun r : request => if class r <? classes then if snd r <? K (class r) then
    match Where (class r) with inleft j => proj1_sig j | inright _ => 0 end else 0 else 0).
  assert (forall k i, k < classes -> i < K k -> sum (s (k, i)) (c k) = most m c k t) as Holds.
  { intros k i Hk Hi. unfold s. simpl. apply Nat.ltb_lt in Hk, Hi. rewrite Hk, Hi. destruct (Where k) as [[j Q]|Q]; simpl; lia. }
  assert (held (st R) s 0 = sum classes (fun k => K k * most m c k t)) as Used.
  { unfold held, total. apply sum_ext. intros k Hk. simpl in *. rewrite <- sum_const. apply sum_ext. intros i Hi.
    rewrite holds_one. apply Holds; assumption. }
  destruct (Nat.eq_dec (held (st R) s 0) 0) as [Z|NZ].
  - (* nobody of them holds anything: t is a first chunk, and more than R *)
    assert (0 < K k0) as PK by auto.
    specialize (Fit k0 0 Hk0 PK). simpl in Fit. rewrite holds_one in Fit. specialize (Fit Nat.lt_0_1).
    pose proof (sum_longer (S j0) (m k0) (c k0) Hj0) as L. simpl in L. fold t in L. lia.
  - apply ND. exists s, (fun r => negb (s r =? 0)). split; [|split].
    + apply what_fits_is_reached.
      * intros p Hp. simpl in *. replace p with 0 by lia. lia.
      * intros [k i] [Hk Hi]. unfold s, class in *. simpl in *. apply Nat.ltb_lt in Hk, Hi. rewrite Hk, Hi.
        destruct (Where k) as [[j Q]|Q]; simpl; lia.
      * intros [k i] N. unfold s. simpl. destruct (k <? classes) eqn:Hk; [|reflexivity]. destruct (i <? K k) eqn:Hi; [|reflexivity].
        exfalso. apply N. apply Nat.ltb_lt in Hk, Hi. split; assumption.
    + destruct (total_positive (st R) (fun r => holds (st R) (class r) (s r) 0)) as [r [Hr P]]; [unfold held in NZ; lia|].
      exists r. split; [assumption|]. destruct (s r) eqn:Es; [simpl in P; unfold holds in P; simpl in P; lia|reflexivity].
    + intros [k i] Hr Dr. pose proof Hr as [Hk Hi]. unfold class in *. simpl in Hk, Hi.
      pose proof (Holds k i Hk Hi) as HH.
      assert (s (k, i) < m k /\ t <= c k (s (k, i)) /\ 0 < most m c k t) as [Wk [Tk Pk]].
      { unfold s in Dr |- *. unfold class in *. simpl in *. pose proof Hk as Hk'. pose proof Hi as Hi'. apply Nat.ltb_lt in Hk', Hi'.
        rewrite Hk', Hi' in *. destruct (Where k) as [[j Q]|Q]; simpl in *; [tauto|discriminate]. }
      split; [split; [assumption|exact Wk]|split].
      * exists 0. split; [simpl; lia|]. rewrite holds_one. simpl. lia.
      * intros F. specialize (F 0 Nat.lt_0_1). unfold only at 2 in F. rewrite Dr in F. simpl in F.
        replace (held (st R) (only (fun r => negb (s r =? 0)) s) 0) with (held (st R) s 0) in F; [lia|].
        apply total_ext. intros q Hq. unfold only. destruct (s q) eqn:Eq; reflexivity.
Qed.
End Classes.

Theorem RES_8 :
  forall (classes : nat) (K m : nat -> nat) (c : nat -> nat -> nat),
  (forall k, k < classes -> 0 < K k) ->
  (forall k j, k < classes -> j < m k -> 0 < c k j) ->
  least_from_which_on (fun R => safe (one_reserve classes K m c R)) (safe_reserve classes K m c).
Proof.
  intros classes K m c PK Pc. split.
  - intros R L. apply safe_iff_no_deadlock. split; [apply no_deadlock; assumption|].
    intros k p Hk _ Hp. apply (footprint_fits classes K m c PK R k L Hk).
  - intros R Safe. destruct (le_lt_dec (safe_reserve classes K m c) R) as [|L]; [assumption|exfalso].
    apply (not_safe_below classes K m c Pc PK (safe_reserve classes K m c - 1)); [lia|]. apply Safe. lia.
Qed.
